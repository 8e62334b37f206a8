/**
 * Rewards and lengths of a batch of completions under TRL's names and by its formulas. Defined here alone: whoever
 * trains, with `policyBatch` or with the RL loop, logs these numbers.
 */
import { mean } from "../base/index.js";
import { hasSpread, spread } from "./group-advantages.js";

/** What there is to say of one completion, an episode of several turns included. */
export interface CompletionFigures {
  /** null when it could not be graded: it counts in no number of rewards. */
  readonly reward: number | null;
  /** Sampled tokens. */
  readonly length: number;
  /** Cut off, so that its length says less. */
  readonly isTruncated: boolean;
}

/**
 *     reward                                 mean over completions
 *     reward_std                             standard deviation (n − 1) over all of them, whatever their group
 *     frac_reward_zero_std                   share of completions in groups whose rewards are all equal
 *     completions/{mean,min,max}_length      over all
 *     completions/clipped_ratio              share that was cut off
 *     completions/{mean,min,max}_terminated_length   over those that ended by themselves, 0 when none did
 *
 * Names and formulas: TRL 1.13, `GRPOTrainer`. What there is nothing to say about is left out.
 */
export function completionMetrics(
  groups_P_G: readonly (readonly CompletionFigures[])[],
): Record<string, number> {
  const rewards_P_G = groups_P_G.map((group) =>
    group.flatMap(({ reward }) => (reward === null ? [] : [reward])),
  );
  return { ...rewardMetrics(rewards_P_G), ...lengthMetrics(groups_P_G.flat()) };
}

function rewardMetrics(rewards_P_G: readonly (readonly number[])[]): Record<string, number> {
  const rewards = rewards_P_G.flat();
  if (rewards.length === 0) return {};
  const isFlat = rewards_P_G.flatMap((rewards_G) => rewards_G.map(() => Number(!hasSpread(rewards_G))));
  return { reward: mean(rewards), reward_std: spread(rewards), frac_reward_zero_std: mean(isFlat) };
}

function lengthMetrics(completions: readonly CompletionFigures[]): Record<string, number> {
  if (completions.length === 0) return {};
  const ended = completions.filter(({ isTruncated }) => !isTruncated);
  return {
    ...extentOf(completions, "length"),
    "completions/clipped_ratio": 1 - ended.length / completions.length,
    ...extentOf(ended, "terminated_length"),
  };
}

function extentOf(completions: readonly CompletionFigures[], what: string): Record<string, number> {
  const lengths = completions.length === 0 ? [0] : completions.map(({ length }) => length);
  return {
    [`completions/mean_${what}`]: mean(lengths),
    [`completions/min_${what}`]: lengths.reduce((a, b) => Math.min(a, b)),
    [`completions/max_${what}`]: lengths.reduce((a, b) => Math.max(a, b)),
  };
}
