/** What a batch of rollouts looks like as numbers, under the names that users of TRL know. Pure. */
import { completionMetrics } from "../algorithms/index.js";
import { mean, standardDeviation } from "../base/index.js";
import { rewardValue, sampledTokenCount, type Trajectory, type TrajectoryGroup } from "../rollouts/index.js";

/** Groups with only the trajectories whose reward is a value; those left empty are gone. */
export function validGroups(groups: readonly TrajectoryGroup[]): TrajectoryGroup[] {
  return groups
    .map(({ taskId, trajectories }) => ({
      taskId,
      trajectories: trajectories.filter(({ reward }) => reward.kind === "value"),
    }))
    .filter(({ trajectories }) => trajectories.length > 0);
}

/** Share of all trajectories without a valid reward. */
export function invalidFraction(groups: readonly TrajectoryGroup[]): number {
  const all = groups.flatMap(({ trajectories }) => trajectories);
  return all.length === 0 ? 0 : all.filter(({ reward }) => reward.kind === "invalid").length / all.length;
}

/**
 * Rewards and lengths (`completionMetrics`), the reward's components and the environment's own metrics. `groups` hold
 * valid trajectories only.
 */
export function batchStatistics(groups: readonly TrajectoryGroup[]): Record<string, number> {
  if (groups.length === 0) return {};
  const trajectories = groups.flatMap((group) => group.trajectories);
  return {
    ...completionMetrics(
      groups.map(({ trajectories }) =>
        trajectories.map((trajectory) => ({
          reward: rewardValue(trajectory),
          length: sampledTokenCount(trajectory),
          isTruncated: trajectory.isTruncated,
        })),
      ),
    ),
    ...componentStatistics(trajectories),
    ...meansOf("env/", lastMetrics(trajectories)),
  };
}

/** What the environment measured in the last turn of each episode. */
export function lastMetrics(trajectories: readonly Trajectory[]): Readonly<Record<string, number>>[] {
  return trajectories.map(({ turns }) => turns.at(-1)?.metrics ?? {});
}

/** `<prefix><name>`: the mean of each number over the records that have it. */
export function meansOf(
  prefix: string,
  records: readonly Readonly<Record<string, number>>[],
): Record<string, number> {
  return Object.fromEntries([...byName(records)].map(([name, values]) => [`${prefix}${name}`, mean(values)]));
}

/** `rewards/<component>/mean` and `/std`: the component's score summed over an episode's turns, before its weight. */
function componentStatistics(trajectories: readonly Trajectory[]): Record<string, number> {
  const scores = trajectories.map(({ reward }) => {
    const own: Record<string, number> = {};
    if (reward.kind === "invalid") return own;
    for (const { name, score } of reward.components) own[name] = (own[name] ?? 0) + score;
    return own;
  });
  return Object.fromEntries(
    [...byName(scores)].flatMap(([name, values]) => [
      [`rewards/${name}/mean`, mean(values)],
      [`rewards/${name}/std`, deviation(values)],
    ]),
  );
}

function byName(records: readonly Readonly<Record<string, number>>[]): Map<string, number[]> {
  const values = new Map<string, number[]>();
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) {
      const list = values.get(name);
      if (list === undefined) values.set(name, [value]);
      else list.push(value);
    }
  }
  return values;
}

function deviation(values: readonly number[]): number {
  return values.length < 2 ? 0 : standardDeviation(values, 1);
}
