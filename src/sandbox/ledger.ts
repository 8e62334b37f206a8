/**
 * Which job a child is at and since when: a record in a small file that the child overwrites before each job and the
 * parent reads whenever it likes, so that it is right even while the child is stuck inside native code.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface LedgerEntry {
  readonly job: number;
  readonly phase: number;
  readonly startedMs: number;
}

export interface Ledger {
  readonly descriptor: number;
  /** null while no job is running. */
  read(): LedgerEntry | null;
  close(): void;
}

/** Job, phase, start, and the job once more: a record whose halves differ was read while it was being written. */
const FIELDS = 4;
const BYTES = FIELDS * 8;
const IDLE = -1;

/** A clock that all processes of a machine share. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}

/** The parent's side. */
export function createLedger(): Ledger {
  const directory = mkdtempSync(join(tmpdir(), "hone-pool-"));
  const descriptor = openSync(join(directory, "ledger"), "w+");
  // An open file needs no name where the platform allows it, and then no crash can leave it behind.
  let isNamed = process.platform === "win32";
  if (!isNamed) rmSync(directory, { recursive: true, force: true });
  const record = new Float64Array(FIELDS);
  return {
    descriptor,
    read: () => {
      for (let attempt = 0; attempt < 100; attempt++) {
        if (readSync(descriptor, record, 0, BYTES, 0) < BYTES) return null;
        const [job, phase, startedMs, again] = record as unknown as [number, number, number, number]; // FIELDS numbers
        if (job === again) return job === IDLE ? null : { job, phase, startedMs };
      }
      return null;
    },
    close: () => {
      closeSync(descriptor);
      if (isNamed) rmSync(directory, { recursive: true, force: true });
      isNamed = false;
    },
  };
}

/** The child's side. */
export function createLedgerWriter(descriptor: number): {
  begin(job: number, phase: number): void;
  idle(): void;
} {
  const record = new Float64Array(FIELDS);
  const write = (job: number, phase: number): void => {
    record[0] = record[3] = job;
    record[1] = phase;
    record[2] = monotonicMs();
    writeSync(descriptor, record, 0, BYTES, 0);
  };
  return { begin: write, idle: () => write(IDLE, 0) };
}
