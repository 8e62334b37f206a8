/**
 * GRPO: Group Relative Policy Optimization. Rewards are compared within the K completions of one prompt, every
 * completion counts the same, and a clipped surrogate allows several steps on one batch.
 *
 *     A_i = (r_i − mean(r)) / (std(r) + 10⁻⁴)
 *     L = 1/B Σ_i 1/|o_i| Σ_t −min(ρ_it A_i, clip(ρ_it, 1 − ε, 1 + ε) A_i) + β KL_it,    ρ_it = π_θ/π_old
 *
 * Paper: DeepSeekMath, arXiv:2402.03300, equations 3 and 4.
 * Differs from the paper: β is 0 and the KL's estimate is multiplied by ρ, both as in TRL 1.13 (`loss_type="grpo"`).
 */
import type { Algorithm } from "./algorithm.js";
import { groupAdvantages } from "./group-advantages.js";

export const grpo = {
  name: "grpo",
  lossFn: "grpo",
  defaults: {},
  advantages: (rewards_P_G, settings, state) => ({
    advantages_P_G: groupAdvantages(rewards_P_G, settings),
    state,
  }),
} satisfies Algorithm;
