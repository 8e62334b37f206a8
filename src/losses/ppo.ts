/**
 * PPO's clipped surrogate (Schulman et al., arXiv:1707.06347, equation 7), per token.
 *
 *     L = Σ_t −min(r_t·A_t, clip(r_t, lo, hi)·A_t)
 *
 * Differs from the paper: the bounds are absolute ratios (0.8 and 1.2), not 1 ∓ ε, so that they may be asymmetric.
 */
import { clamp, minimum, mul, neg } from "../graph/index.js";
import type { Loss } from "./loss.js";
import { importanceRatio } from "./ratio.js";

export const ppo: Loss = {
  name: "ppo",
  inputs: ["logprobs", "advantages"],
  optional: {},
  defaults: { clip_low_threshold: 0.8, clip_high_threshold: 1.2 },
  supervisedBy: ["advantages"],
  perToken: ({ trainingLogprobs_S, inputs: { logprobs, advantages }, config }) => {
    const ratio = importanceRatio(trainingLogprobs_S, logprobs!);
    const clipped = clamp(ratio, config["clip_low_threshold"]!, config["clip_high_threshold"]!);
    return neg(minimum(mul(ratio, advantages!), mul(clipped, advantages!)));
  },
};
