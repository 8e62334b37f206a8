/** What a batch of groups was like, as numbers. Means are over valid episodes, unless the name says otherwise. */
import { mean, standardDeviation } from "../base/index.js";
import type { Trajectory, TrajectoryGroup } from "./trajectory.js";

export interface RolloutStatistics {
  readonly episodeCount: number;
  readonly invalidShare: number;
  /** Invalid episodes by where they failed. */
  readonly invalidCounts: Readonly<Record<string, number>>;
  /** NaN where no episode is valid, as all means. */
  readonly rewardMean: number;
  /** Over all valid episodes, population form. */
  readonly rewardDeviation: number;
  /** Mean score of each reward component that was graded. */
  readonly componentMeans: Readonly<Record<string, number>>;
  /** Groups in which all valid rewards are equal: nothing can be learned from them. */
  readonly zeroVarianceShare: number;
  /** Sampled tokens of an episode, all turns together. */
  readonly sampledTokensMean: number;
  readonly sampledTokensMax: number;
  readonly truncatedShare: number;
  readonly turnsMean: number;
  /** Means of what the environment measured, over the turns that have it. */
  readonly metricMeans: Readonly<Record<string, number>>;
}

export function rolloutStatistics(groups: readonly TrajectoryGroup[]): RolloutStatistics {
  const all = groups.flatMap(({ trajectories }) => trajectories);
  const valid = all.filter(({ reward }) => reward.kind === "value");
  const rewards = valid.map(rewardValue);
  const lengths = valid.map(sampledTokenCount);
  const invalidCounts: Record<string, number> = {};
  for (const { reward } of all) {
    if (reward.kind !== "invalid") continue;
    const boundary = reward.boundary ?? "reward";
    invalidCounts[boundary] = (invalidCounts[boundary] ?? 0) + 1;
  }
  const components = valid.flatMap(({ reward }) =>
    reward.kind === "value" ? reward.components.map(({ name, score }) => [name, score] as const) : [],
  );
  const metrics = valid.flatMap(({ turns }) => turns.flatMap((turn) => Object.entries(turn.metrics)));
  return {
    episodeCount: all.length,
    invalidShare: all.length === 0 ? Number.NaN : (all.length - valid.length) / all.length,
    invalidCounts,
    rewardMean: meanOf(rewards),
    rewardDeviation: rewards.length === 0 ? Number.NaN : standardDeviation(rewards),
    componentMeans: meansByName(components),
    zeroVarianceShare: meanOf(groups.map((group) => (hasZeroVariance(group) ? 1 : 0))),
    sampledTokensMean: meanOf(lengths),
    sampledTokensMax: Math.max(0, ...lengths),
    truncatedShare: meanOf(valid.map(({ isTruncated }) => (isTruncated ? 1 : 0))),
    turnsMean: meanOf(valid.map(({ turns }) => turns.length)),
    metricMeans: meansByName(metrics),
  };
}

/** The reward of a valid episode, NaN of an invalid one. */
export function rewardValue({ reward }: Trajectory): number {
  return reward.kind === "value" ? reward.value : Number.NaN;
}

export function sampledTokenCount({ spans }: Trajectory): number {
  return spans.reduce((total, { source, start, end }) => total + (source === "sampled" ? end - start : 0), 0);
}

/** Are all valid rewards of the group the same? A group without any counts as such. */
export function hasZeroVariance({ trajectories }: TrajectoryGroup): boolean {
  const rewards = trajectories.map(rewardValue).filter((value) => !Number.isNaN(value));
  return rewards.every((value) => value === rewards[0]);
}

function meansByName(entries: readonly (readonly [string, number])[]): Record<string, number> {
  const byName = new Map<string, number[]>();
  for (const [name, value] of entries) {
    const values = byName.get(name);
    if (values === undefined) byName.set(name, [value]);
    else values.push(value);
  }
  return Object.fromEntries([...byName].map(([name, values]) => [name, mean(values)]));
}

const meanOf = (values: readonly number[]): number => (values.length === 0 ? Number.NaN : mean(values));
