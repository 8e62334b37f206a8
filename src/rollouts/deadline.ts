/** How long an episode may take, and the caller's signal, as promises that end in time. Knows time; kills nothing. */
import { CancelledError, type RolloutBoundary, RolloutError } from "../base/index.js";

export interface WaitLimits {
  /** What an episode's environment may take, all turns together. */
  readonly deadlineMs: number;
  /** What one request to the sampler may take, its queue included. */
  readonly samplingDeadlineMs: number;
  readonly signal: AbortSignal;
}

/** The waits of one episode. Both reject with a `RolloutError` when time is up, with `CancelledError` on the signal. */
export interface Waits {
  /** Waits for the environment, out of the episode's own time. */
  env<T>(what: string, work: () => Promise<T>): Promise<T>;
  /** Waits for the sampler; its queue is not the episode's fault. */
  policy<T>(what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
}

export function createWaits({ deadlineMs, samplingDeadlineMs, signal }: WaitLimits): Waits {
  let leftMs = deadlineMs;
  return {
    async env(what, work) {
      const begun = performance.now();
      try {
        const limit = { boundary: "env", what, limitMs: deadlineMs, leftMs, signal } as const;
        return await endsInTime(limit, work);
      } finally {
        leftMs -= performance.now() - begun;
      }
    },
    policy: (what, work) =>
      endsInTime(
        { boundary: "policy", what, limitMs: samplingDeadlineMs, leftMs: samplingDeadlineMs, signal },
        work,
      ),
  };
}

interface Limit {
  readonly boundary: RolloutBoundary;
  readonly what: string;
  readonly limitMs: number;
  readonly leftMs: number;
  readonly signal: AbortSignal;
}

async function endsInTime<T>(limit: Limit, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { signal } = limit;
  const cancelled = (): Error => new CancelledError("the rollouts were cancelled");
  if (signal.aborted) throw cancelled();
  const controller = new AbortController();
  let end = (_: Error): void => {};
  const ended = new Promise<never>((_, reject) => {
    end = (error) => {
      reject(error);
      controller.abort();
    };
  });
  // Whoever answers the abort first, the reason is the one given here.
  ended.catch(() => undefined);
  const cancel = (): void => end(cancelled());
  const timer = setTimeout(
    () =>
      end(
        new RolloutError(
          limit.boundary,
          `Cannot wait longer for ${limit.what}: it is not there, expected it within ${limit.limitMs} ms`,
        ),
      ),
    Math.max(0, limit.leftMs),
  );
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await Promise.race([ended, work(controller.signal)]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", cancel);
  }
}
