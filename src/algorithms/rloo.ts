/**
 * RLOO: REINFORCE leave-one-out. Each completion's baseline is the mean reward of its siblings, which is unbiased
 * because it does not depend on the completion itself.
 *
 *     A_i = r_i − 1/(n−1) Σ_{j≠i} r_j        r_i = reward_i − β Σ_t log(π_old/π_ref)
 *     L = 1/B Σ_i −min(ρ_i A_i, clip(ρ_i, 1 − ε, 1 + ε) A_i),    ρ_i = Π_t π_θ/π_old
 *
 * Paper: Ahmadian et al., arXiv:2402.14740, equation 8. The clipped ratio of whole sequences, the KL in the reward and
 * β = 0.05 are TRL's `RLOOTrainer`.
 */
import type { Algorithm } from "./algorithm.js";
import { hasSpread, normalisedOverBatch } from "./group-advantages.js";

export const rloo = {
  name: "rloo",
  lossFn: "rloo",
  defaults: { beta: 0.05, klPlacement: "reward" },
  advantages: (rewards_P_G, { normalizeAdvantages }, state) => {
    const advantages_P_G = rewards_P_G.map(leaveOneOut);
    return {
      advantages_P_G: normalizeAdvantages ? normalisedOverBatch(advantages_P_G) : advantages_P_G,
      state,
    };
  },
} satisfies Algorithm;

function leaveOneOut(rewards_G: readonly number[]): number[] {
  if (!hasSpread(rewards_G)) return rewards_G.map(() => 0);
  const total = rewards_G.reduce((a, b) => a + b, 0);
  return rewards_G.map((reward) => reward - (total - reward) / (rewards_G.length - 1));
}
