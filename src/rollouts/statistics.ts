/** Numbers of a trajectory or a group that everyone counts alike. What a batch was like is the loop's to say. */
import type { Trajectory, TrajectoryGroup } from "./trajectory.js";

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
