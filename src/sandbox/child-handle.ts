/** One child process as its parent sees it: started, ready, fed with batches, watched, killed. Retries nothing. */
import { fork } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { createLedger, type LedgerEntry, monotonicMs } from "./ledger.js";
import type { FromChild, JobMessage, JobResult, ToChild } from "./messages.js";

export interface ChildOptions {
  readonly module: URL;
  readonly options: unknown;
  readonly memoryLimitBytes: number;
}

/** Why a child is no more. */
export interface ChildEnd {
  readonly wasReady: boolean;
  /** The job it was at. */
  readonly at: LedgerEntry | null;
  /** Set when its parent killed it. */
  readonly killedFor: "timeout" | "memory" | "stuck" | "close" | null;
  readonly message: string;
}

export interface ChildEvents {
  onReady(): void;
  onResults(results: readonly JobResult[], busyMs: number): void;
  /** No message follows. */
  onEnd(end: ChildEnd): void;
  /** Milliseconds a phase of this job may take. */
  deadlineOf(job: number): number;
}

export interface ChildHandle {
  /** undefined when it could not be started. */
  readonly processId: number | undefined;
  send(jobs: readonly JobMessage[]): void;
  /** To be told when all jobs sent are answered: an idle child neither keeps the program alive nor is watched. */
  rest(): void;
  close(): void;
}

/** How often a working child is looked at. */
const WATCH_MS = 25;
/** Silence of a child that should start, or has jobs but works at none. */
const STUCK_MS = 60_000;
const STDERR_CHARACTERS = 4000;
const PAGE_BYTES = 4096;

export function startChild(
  { module, options, memoryLimitBytes }: ChildOptions,
  events: ChildEvents,
): ChildHandle {
  const ledger = createLedger();
  const child = fork(new URL("./child.js", builtUrl(import.meta.url)), [module.href, String(process.pid)], {
    // Nothing of the parent's environment that is not needed: what runs in there may be made by a model.
    env: childEnvironment(),
    execArgv: [`--max-old-space-size=${Math.ceil(memoryLimitBytes / 2 / 2 ** 20)}`],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "pipe", "ipc", ledger.descriptor],
  });
  let stderr = "";
  let isReady = false;
  let isEnded = false;
  let killedFor: ChildEnd["killedFor"] = null;
  let killMessage = "";
  let at: LedgerEntry | null = null;
  let timer: NodeJS.Timeout | null = null;
  let lastSignMs = monotonicMs();
  let failure: Error | null = null;

  const hold = (): void => {
    child.ref();
    child.channel?.ref();
  };

  const kill = (reason: NonNullable<ChildEnd["killedFor"]>, message: string, entry = ledger.read()): void => {
    if (isEnded || killedFor !== null) return;
    killedFor = reason;
    killMessage = message;
    at = entry;
    hold(); // until the end is seen
    child.kill("SIGKILL");
  };

  /** Kills the child if it has overstepped, and says when to look again. */
  const watch = (): void => {
    const nowMs = monotonicMs();
    const entry = ledger.read();
    const deadlineMs = entry === null ? Number.POSITIVE_INFINITY : events.deadlineOf(entry.job);
    const leftMs = entry === null ? deadlineMs : entry.startedMs + deadlineMs - nowMs;
    const residentBytes = residentBytesOf(child.pid);
    if (leftMs <= 0) kill("timeout", `ran longer than ${deadlineMs} ms`, entry);
    else if (residentBytes > memoryLimitBytes)
      kill("memory", `used ${mebibytes(residentBytes)} MiB, more than ${mebibytes(memoryLimitBytes)}`, entry);
    else if (entry === null && nowMs - lastSignMs > STUCK_MS)
      kill("stuck", `it neither worked nor answered for ${STUCK_MS / 1000} s`, entry);
    timer = setTimeout(watch, Math.max(1, Math.min(leftMs, WATCH_MS)));
  };

  const end = (message: string): void => {
    if (isEnded) return;
    isEnded = true;
    if (timer !== null) clearTimeout(timer);
    at ??= ledger.read();
    ledger.close();
    const isOutOfMemory = killedFor === null && /heap out of memory|allocation fail/i.test(stderr);
    events.onEnd({
      wasReady: isReady,
      at,
      killedFor: isOutOfMemory ? "memory" : killedFor,
      message: killedFor === null ? message : killMessage,
    });
  };

  // The type of a piped stream leaves out that it is a socket.
  (child.stderr as Socket).unref();
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_CHARACTERS);
  });
  child.on("message", (message: FromChild) => {
    lastSignMs = monotonicMs();
    if ("ready" in message) {
      isReady = true;
      events.onReady();
    } else if (killedFor !== "close") events.onResults(message.results, message.busyMs);
  });
  child.on("error", (error) => {
    failure = error;
    if (child.pid === undefined) end(`it could not be started (${error.message})`);
  });
  // Results may still lie in the channel when the process has ended.
  let ending: string | null = null;
  const endWhenSilent = (): void => {
    if (ending !== null && !child.connected) end(ending);
  };
  child.on("disconnect", endWhenSilent);
  child.on("close", (code, signal) => {
    const last = stderr.trim() || failure?.message;
    ending = `it ended with ${signal === null ? `exit code ${code}` : `signal ${signal}`}${last === undefined ? "" : `: ${last}`}`;
    endWhenSilent();
  });
  child.send({ options } satisfies ToChild, () => {}); // a failure to send is a child that ends: see "close"
  timer = setTimeout(watch, 1);

  return {
    processId: child.pid,
    send: (jobs) => {
      if (isEnded || !child.connected) return;
      hold();
      lastSignMs = monotonicMs();
      child.send({ jobs } satisfies ToChild, () => {});
      timer ??= setTimeout(watch, 1);
    },
    rest: () => {
      if (timer !== null) clearTimeout(timer);
      timer = null;
      child.unref();
      child.channel?.unref();
    },
    close: () => kill("close", "the pool was closed"),
  };
}

/** The JavaScript that `npm run build` made of a source file: Node cannot run the TypeScript that tests run. */
export function builtUrl(sourceUrl: string | URL): URL {
  const url = String(sourceUrl);
  return new URL(
    url.endsWith(".ts") ? url.replace(/\/src\/(?!.*\/src\/)/, "/dist/").replace(/\.ts$/, ".js") : url,
  );
}

function childEnvironment(): NodeJS.ProcessEnv {
  const kept = ["PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SystemRoot", "LANG", "LC_ALL", "TZ"];
  return Object.fromEntries(
    kept.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

/** 0 where the platform does not say. */
function residentBytesOf(pid: number | undefined): number {
  if (process.platform !== "linux" || pid === undefined) return 0;
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;
  } catch {
    return 0; // it has just ended
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
