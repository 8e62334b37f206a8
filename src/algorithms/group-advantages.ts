/** Rewards compared within a group: the baseline that GRPO and its relatives share. Numbers only. */
import { mean, standardDeviation } from "../base/index.js";
import type { PolicySettings } from "./settings.js";

/** TRL's guard against division by 0. */
const EPSILON = 1e-4;

/**
 * Rewards centred on their group's mean, and divided by a standard deviation (that of a sample, n − 1).
 *
 *     A_i = (r_i − mean(r_1 … r_n)) / (std + 10⁻⁴)
 *
 * `scaleRewards` says whose std: the group's, that of all rewards of the batch, or none (then nothing is divided).
 * Where all rewards of a group are equal, and where there is only one, advantages are exactly 0.
 */
export function groupAdvantages(
  rewards_P_G: readonly (readonly number[])[],
  { scaleRewards }: Pick<PolicySettings, "scaleRewards">,
): number[][] {
  const batchScale = scaleRewards === "batch" ? spread(rewards_P_G.flat()) + EPSILON : 1;
  return rewards_P_G.map((rewards_G) => {
    if (!hasSpread(rewards_G)) return rewards_G.map(() => 0);
    const centre = mean(rewards_G);
    const scale = scaleRewards === "group" ? spread(rewards_G) + EPSILON : batchScale;
    return rewards_G.map((reward) => (reward - centre) / scale);
  });
}

/**
 * GDPO (arXiv:2601.05242): every component of the reward is normalised within its group, then they are added with
 * their weights, and the sum is normalised over the batch.
 *
 *     s_i = Σ_k w_k (r_ik − mean_k) / (std_k + 10⁻⁴)        A_i = (s_i − mean(s)) / (std(s) + 10⁻⁴)
 *
 * So a component that varies little counts as much as one that varies much.
 */
export function multiObjectiveAdvantages(
  rewards_P_G_K: readonly (readonly (readonly number[])[])[],
  weights_K: readonly number[],
): number[][] {
  const sums_P_G = rewards_P_G_K.map((rewards_G_K) => {
    const normalised_K_G = weights_K.map(
      (_, k) =>
        groupAdvantages([rewards_G_K.map((rewards_K) => rewards_K[k]!)], { scaleRewards: "group" })[0]!,
    );
    return rewards_G_K.map((_, i) =>
      weights_K.reduce((sum, weight, k) => sum + weight * normalised_K_G[k]![i]!, 0),
    );
  });
  return normalisedOverBatch(sums_P_G);
}

/** (x − mean) / (std + 10⁻⁴) over all numbers of all groups. */
export function normalisedOverBatch(values_P_G: readonly (readonly number[])[]): number[][] {
  const all = values_P_G.flat();
  if (!hasSpread(all)) return values_P_G.map((values) => values.map(() => 0));
  const [centre, scale] = [mean(all), spread(all) + EPSILON];
  return values_P_G.map((values) => values.map((value) => (value - centre) / scale));
}

/** Whether the rewards of a group say anything: not all are equal. */
export function hasSpread(rewards_G: readonly number[]): boolean {
  return rewards_G.some((reward) => reward !== rewards_G[0]);
}

/** Standard deviation with n − 1; 0 for fewer than two numbers. */
export function spread(values: readonly number[]): number {
  return values.length < 2 ? 0 : standardDeviation(values, 1);
}
