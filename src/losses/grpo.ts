/**
 * The clipped surrogate of GRPO and most of its descendants (arXiv:2402.03300, equation 3): PPO's, with weights, KL to a
 * reference and entropy.
 *
 *     ℓ_t = −min(r_t A_t, clip(r_t, lo, hi) A_t),    r_t = π_θ(y_t) / π_old(y_t)
 *
 * GRPO, BNPO, Dr. GRPO and DAPO differ in advantages and weights alone. Bounds that never bind give importance
 * sampling, and at r = 1 the gradient is REINFORCE's. What w, KL and entropy add: policy-terms.ts.
 */
import { clippedSurrogate, POLICY_DEFAULTS, policyLoss, tokenRatio } from "./policy-terms.js";

export const grpo = policyLoss("grpo", POLICY_DEFAULTS, (loss) => {
  const ratio_S = tokenRatio(loss);
  return { ratio_S, surrogate_S: clippedSurrogate(ratio_S, loss) };
});
