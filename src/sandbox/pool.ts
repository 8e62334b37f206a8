/**
 * A pool of killable child processes with a deadline per job. Processes, not threads: a thread stuck inside a native
 * call cannot be ended. Knows nothing of what the jobs are.
 */
import { CancelledError } from "../base/index.js";
import { builtUrl, type ChildEnd, type ChildHandle, startChild } from "./child-handle.js";
import type { JobOutcome } from "./handler.js";
import type { JobResult } from "./messages.js";

export interface PoolOptions {
  /** Module whose default export is a `CreateHandler`; a `.ts` address under `src` stands for what was built of it. */
  readonly module: URL;
  /** Given to the module's default export in every child; must be cloneable. */
  readonly options?: unknown;
  /** Child processes at work at the same time. */
  readonly size: number;
  /** What a job's phase may take, unless `run` says otherwise. */
  readonly deadlineMs: number;
  /** Resident memory of a child, watched on Linux; everywhere, its JavaScript heap gets half of it. @default 512 MiB */
  readonly memoryLimitBytes?: number;
}

export interface RunOptions {
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Pool<Request, Response> {
  /**
   * Resolves with what came of the job. Jobs may run again after a child died, so they must be repeatable.
   *
   * @throws CancelledError after the signal
   * @throws Error when the pool was closed, or its children cannot start or keep dying while they do nothing
   */
  run(request: Request, options?: RunOptions): Promise<JobOutcome<Response>>;
  /** Of the children alive now, so that their load can be told from that of others. */
  processIds(): readonly number[];
  /** Kills the children; rejects what is pending. May be called again: every call waits for the last child's end. */
  close(): Promise<void>;
}

interface Job {
  readonly id: number;
  readonly request: unknown;
  readonly deadlineMs: number;
  /** A job at which a child died runs again, with no other beside it, so that nobody else is blamed. */
  failures: number;
  settle(outcome: JobOutcome<unknown>): void;
  fail(error: Error): void;
  isOver: boolean;
}

interface Member {
  handle: ChildHandle;
  isReady: boolean;
  /** By id, in the order in which they run. */
  readonly inFlight: Map<number, Job>;
}

const MEMORY_LIMIT_BYTES = 512 * 2 ** 20;
const MAX_BATCH = 64;
/** A batch should last about this long: messages are few then, and a stuck job holds up little. */
const BATCH_MS = 20;
const MAX_FAILURES = 2;
/** Children that die one after another without having answered anything. */
const MAX_FUTILE_STARTS = 3;

/**
 * @example
 * const pool = createPool<string, number>({ module: new URL("./length.js", import.meta.url), size: 2, deadlineMs: 1000 });
 * const outcome = await pool.run("four"); // { kind: "done", response: 4 }
 * await pool.close();
 */
export function createPool<Request, Response>({
  module,
  options,
  size,
  deadlineMs,
  memoryLimitBytes = MEMORY_LIMIT_BYTES,
}: PoolOptions): Pool<Request, Response> {
  const members = new Set<Member>();
  let queue: Job[] = [];
  let nextId = 0;
  let futileStarts = 0;
  let averageJobMs = 5;
  let ended: Error | null = null;
  let isFeeding = false;
  let whenEmpty: (() => void) | null = null;
  let closed: Promise<void> | null = null;

  const start = (): void => {
    const member: Member = {
      isReady: false,
      inFlight: new Map(),
      handle: startChild(
        { module: builtUrl(module), options, memoryLimitBytes },
        {
          onReady: () => {
            member.isReady = true;
            feed();
          },
          onResults: (results, busyMs) => onResults(member, results, busyMs),
          onEnd: (end) => onEnd(member, end),
          deadlineOf: (id) => member.inFlight.get(id)?.deadlineMs ?? deadlineMs,
        },
      ),
    };
    members.add(member);
  };

  /** Starts children as far as there is work for them, and hands out batches. */
  const feed = (): void => {
    isFeeding = false;
    if (ended !== null) return;
    queue = queue.filter(({ isOver }) => !isOver);
    for (let wanted = Math.min(size, queue.length + busyCount()); members.size < wanted; ) start();
    const free = [...members]
      .filter(({ isReady }) => isReady)
      .sort((a, b) => a.inFlight.size - b.inFlight.size);
    for (const member of free) {
      const jobs = nextBatch(member);
      for (const job of jobs) member.inFlight.set(job.id, job);
      if (jobs.length > 0)
        member.handle.send(jobs.map(({ id, request, failures }) => ({ id, request, attempt: failures + 1 })));
      else if (member.inFlight.size === 0) member.handle.rest();
    }
  };

  const busyCount = (): number => [...members].filter(({ inFlight }) => inFlight.size > 0).length;

  const nextBatch = ({ inFlight }: Member): readonly Job[] => {
    const first = queue[0];
    if (first === undefined || [...inFlight.values()].some(({ failures }) => failures > 0)) return [];
    if (first.failures > 0) return inFlight.size === 0 ? queue.splice(0, 1) : [];
    const lasting = Math.min(MAX_BATCH, Math.max(1, Math.round(BATCH_MS / averageJobMs)));
    // Two batches under way: the child never waits for a message.
    if (inFlight.size > lasting) return [];
    const suspect = queue.findIndex(({ failures }) => failures > 0);
    const fair = Math.max(1, Math.ceil(queue.length / size));
    return queue.splice(0, Math.min(lasting, fair, suspect === -1 ? queue.length : suspect));
  };

  const onResults = (member: Member, results: readonly JobResult[], busyMs: number): void => {
    averageJobMs += 0.3 * (busyMs / results.length - averageJobMs);
    futileStarts = 0;
    for (const result of results) {
      const job = member.inFlight.get(result.id);
      member.inFlight.delete(result.id);
      job?.settle(
        "error" in result
          ? { kind: "error", message: result.error }
          : { kind: "done", response: result.response },
      );
    }
    feed();
  };

  const onEnd = (member: Member, { wasReady, at, killedFor, message }: ChildEnd): void => {
    members.delete(member);
    if (members.size === 0) whenEmpty?.();
    if (ended !== null) return;
    const culprit = at === null ? undefined : member.inFlight.get(at.job);
    const phase = at?.phase ?? 0;
    if (culprit === undefined) futileStarts++;
    else if (killedFor === "timeout") culprit.settle({ kind: "timeout", phase, message });
    // Whether it was this job's doing shows when it runs alone in a fresh child.
    else if (++culprit.failures >= MAX_FAILURES)
      culprit.settle({
        kind: killedFor === "memory" ? "memory" : "crash",
        phase,
        message: `${message}, twice`,
      });
    queue.unshift(...member.inFlight.values());
    if (futileStarts >= MAX_FUTILE_STARTS) breakDown(wasReady, message);
    else feed();
  };

  const breakDown = (wasReady: boolean, message: string): void =>
    endWith(
      new Error(
        `Cannot go on with a pool of ${module.pathname}: ${futileStarts} child processes in a row ${wasReady ? "died without a job" : "could not start"}, expected them to serve jobs until close(). The last one: ${message}`,
      ),
    );

  const endWith = (error: Error): void => {
    ended = error;
    const pending = [...[...members].flatMap(({ inFlight }) => [...inFlight.values()]), ...queue];
    queue = [];
    for (const job of pending) job.fail(error);
    for (const { handle } of members) handle.close();
  };

  return {
    run: (request, { deadlineMs: ownDeadlineMs = deadlineMs, signal } = {}) => {
      if (ended !== null) return Promise.reject(ended);
      if (signal?.aborted) return Promise.reject(new CancelledError("Cancelled before the job started"));
      return new Promise<JobOutcome<Response>>((resolve, reject) => {
        const cancel = (): void => job.fail(new CancelledError("Cancelled while the job waited or ran"));
        const over = (): void => {
          job.isOver = true;
          signal?.removeEventListener("abort", cancel);
        };
        const job: Job = {
          ...{ id: nextId++, request, deadlineMs: ownDeadlineMs, failures: 0, isOver: false },
          settle: (outcome) => {
            over();
            resolve(outcome as JobOutcome<Response>); // what the module's handler returns
          },
          fail: (error) => {
            over();
            reject(error);
          },
        };
        signal?.addEventListener("abort", cancel, { once: true });
        queue.push(job);
        // Jobs asked for in one go travel in one message.
        if (!isFeeding) queueMicrotask(feed);
        isFeeding = true;
      });
    },
    processIds: () => [...members].flatMap(({ handle }) => handle.processId ?? []),
    close: () => {
      closed ??= new Promise<void>((resolve) => {
        whenEmpty = resolve;
        if (members.size === 0) resolve();
        if (ended === null) endWith(new Error("Cannot run a job: the pool was closed"));
      });
      return closed;
    },
  };
}
