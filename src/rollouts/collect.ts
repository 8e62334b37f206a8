/**
 * Groups of rollouts: tasks × K samples, many at once. The prompt of a group is sampled from by one request, so that it
 * is computed once. Everything random is drawn from (run seed, step, task, sample, turn): what else is under way, and in
 * which order it ends, changes nothing.
 */
import { CancelledError, Random, UserError } from "../base/index.js";
import type { EnvSet, EnvTask } from "../envs/index.js";
import { rollOutGroup } from "./group.js";
import { createPolicy, type PolicyOptions } from "./policy.js";
import type { Trajectory, TrajectoryGroup } from "./trajectory.js";

export interface CollectOptions extends PolicyOptions {
  readonly set: EnvSet;
  /** One group each; the same task may stand more than once. */
  readonly tasks: readonly EnvTask[];
  /** K: samples per task. */
  readonly groupSize: number;
  /** The run's. */
  readonly seed: number;
  /** The run's step: other steps draw other numbers. */
  readonly step: number;
  /** Told apart where one step collects several times: other rounds draw other numbers. @default 0 */
  readonly round?: number;
  /** Groups under way at once. @default 64 */
  readonly concurrency?: number;
  /** What an episode's environment may take, all its turns together. @default 60000 */
  readonly deadlineMs?: number;
  /** What one request to the sampler may take, its queue included. @default 3600000 */
  readonly samplingDeadlineMs?: number;
  /** An episode ends after so many completions, even if the environment would go on. @default 16 */
  readonly maxTurns?: number;
  /** More invalid episodes than this share of all end the collection. @default 0.1 */
  readonly maxInvalidShare?: number;
  readonly signal?: AbortSignal;
  /** Called with every group as it is done, in no particular order. */
  readonly onGroup?: (group: TrajectoryGroup) => void;
}

/**
 * One group per task, in the order of the tasks. Samples that failed are in their group, marked invalid.
 *
 * @throws UserError when too many failed, or when the environment gives one task's samples different prompts
 * @throws CancelledError when the signal aborts
 */
export async function collectGroups(options: CollectOptions): Promise<TrajectoryGroup[]> {
  const { set, tasks, groupSize, seed, step, round = 0, concurrency = 64, maxInvalidShare = 0.1 } = options;
  const { deadlineMs = 60_000, samplingDeadlineMs = 3_600_000, maxTurns = 16, signal, onGroup } = options;
  if (!Number.isInteger(groupSize) || groupSize < 1) {
    throw new UserError(
      `Cannot collect rollouts: groupSize is ${groupSize}, expected a whole number of 1 or more`,
    );
  }
  throwIfAborted(signal);
  const policy = createPolicy(options);
  const randoms = groupRandoms(tasks, new Random(seed).fork(`step ${step} round ${round}`));
  const total = tasks.length * groupSize;
  const stop = new AbortController();
  const forward = (): void => stop.abort();
  signal?.addEventListener("abort", forward, { once: true });

  const groups: TrajectoryGroup[] = [];
  const invalid: Trajectory[] = [];
  let thrown: { readonly error: unknown } | undefined;
  let next = 0;
  // The first failure stops the others; nothing is left running when this function throws.
  const work = async (): Promise<void> => {
    while (next < tasks.length && !stop.signal.aborted) {
      const index = next++;
      const task = tasks[index]!;
      const random = randoms[index]!;
      try {
        const limits = { deadlineMs, samplingDeadlineMs, maxTurns, signal: stop.signal };
        const group = await rollOutGroup({ set, task, groupSize, policy, random, ...limits });
        groups[index] = group;
        onGroup?.(group);
        invalid.push(...group.trajectories.filter(({ reward }) => reward.kind === "invalid"));
        if (invalid.length > maxInvalidShare * total) throw tooManyInvalid(invalid, total, maxInvalidShare);
      } catch (error) {
        thrown ??= { error };
        stop.abort();
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.max(1, Math.min(concurrency, tasks.length)) }, work));
  } finally {
    signal?.removeEventListener("abort", forward);
  }
  throwIfAborted(signal);
  if (thrown !== undefined) throw thrown.error;
  return groups;
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new CancelledError("the rollouts were cancelled");
}

/** One generator per group, by its task and by how often the task stood before it: batches may be put together anew. */
function groupRandoms(tasks: readonly EnvTask[], random: Random): Random[] {
  const seen = new Map<string, number>();
  return tasks.map(({ id }) => {
    const count = seen.get(id) ?? 0;
    seen.set(id, count + 1);
    return random.fork(`task ${id}`).fork(`occurrence ${count}`);
  });
}

function tooManyInvalid(invalid: readonly Trajectory[], total: number, maxShare: number): UserError {
  const counts = new Map<string, number>();
  for (const { reward, failure } of invalid) {
    const boundary =
      failure?.boundary ?? (reward.kind === "invalid" ? reward.boundary : undefined) ?? "reward";
    counts.set(boundary, (counts.get(boundary) ?? 0) + 1);
  }
  const where = [...counts].map(([boundary, count]) => `${count} at "${boundary}"`).join(", ");
  const [first] = invalid;
  const reason = first?.reward.kind === "invalid" ? first.reward.reason : "";
  return new UserError(
    `Cannot go on collecting rollouts: ${invalid.length} of ${total} are invalid (${where}), expected a share of at most ${maxShare}. The first, task "${first?.taskId}": ${reason}`,
  );
}
