/**
 * GSPO: Group Sequence Policy Optimization. The reward is given to a sequence, so the ratio is a sequence's too: the
 * geometric mean of its tokens' ratios, clipped as a whole.
 *
 *     s_i = exp(1/|o_i| Σ_t log π_θ/π_old)        L = 1/B Σ_i −min(s_i A_i, clip(s_i, 1 − ε_low, 1 + ε_high) A_i)
 *
 * Paper: arXiv:2507.18071, equations 5 and 7; its ε are 3·10⁻⁴ and 4·10⁻⁴, because a mean of logarithms moves little.
 * TRL: `importance_sampling_level="sequence", loss_type="grpo"`.
 */
import type { Algorithm } from "./algorithm.js";
import { grpo } from "./grpo.js";

export const gspo = {
  name: "gspo",
  lossFn: "gspo",
  defaults: { epsilon: 3e-4, epsilonHigh: 4e-4 },
  advantages: grpo.advantages,
} satisfies Algorithm;
