/**
 * One writer per run: a lock file that names the process holding it. A lock whose process is gone is stale.
 * Callers take and break locks inside a transaction of the store, so that no two processes judge one lock at once.
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { z } from "zod";
import { UserError } from "../base/index.js";
import { type Disk, readIfPresent, replaceFile } from "./disk.js";

const LockFile = z.object({
  pid: z.int().positive(),
  /** When the process began, as the system counts it; null where the system does not tell. Guards against reused pids. */
  processStart: z.string().nullable(),
  host: z.string(),
  since: z.string(),
});
export type LockHolder = z.infer<typeof LockFile>;

const LOCK_NAME = "lock";

/** Takes the run's lock for this process. @throws UserError while another process holds it. */
export function takeLock(disk: Disk, runDirectory: string, since: string, what = "run"): void {
  const holder = liveHolder(runDirectory);
  if (holder !== undefined) {
    throw new UserError(
      `Cannot write to ${what} ${runDirectory}: process ${holder.pid} on ${holder.host} has been writing to it since ${holder.since}, expected no other writer. Stop that process, or remove ${runDirectory}/${LOCK_NAME} if it is not a run of Hone`,
    );
  }
  const own: LockHolder = {
    pid: process.pid,
    processStart: processStart(process.pid),
    host: hostname(),
    since,
  };
  replaceFile(disk, runDirectory, LOCK_NAME, `${JSON.stringify(own)}\n`);
}

/** Gives the lock back if this process holds it. */
export function releaseLock(disk: Disk, runDirectory: string): void {
  const holder = liveHolder(runDirectory);
  if (holder?.pid === process.pid && holder.host === hostname()) disk.remove(`${runDirectory}/${LOCK_NAME}`);
}

/** The process now writing to the run; undefined when there is none or its lock is stale. */
export function liveHolder(runDirectory: string): LockHolder | undefined {
  const text = readIfPresent(`${runDirectory}/${LOCK_NAME}`);
  if (text === undefined) return undefined;
  const holder = parsedHolder(text);
  // A lock is renamed into place whole; one that does not parse was torn by a power cut, and no process survived that.
  if (holder === undefined) return undefined;
  return holder.host === hostname() && !isAlive(holder) ? undefined : holder;
}

function parsedHolder(text: string): LockHolder | undefined {
  try {
    return LockFile.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function isAlive(holder: LockHolder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: the process is there and belongs to someone else.
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return false;
  }
  if (isZombie(holder.pid)) return false;
  const start = processStart(holder.pid);
  return holder.processStart === null || start === null || start === holder.processStart;
}

/** Ended, and not yet taken note of by its parent: it still has a number, and writes nothing. */
function isZombie(pid: number): boolean {
  return statFields(pid)?.[0] === "Z";
}

/** Field 22 of /proc/PID/stat: clock ticks from boot to the start of the process. */
function processStart(pid: number): string | null {
  return statFields(pid)?.[19] ?? null;
}

/** Fields of /proc/PID/stat from the third on, where the system has it. The second, a name, may hold anything. */
function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
