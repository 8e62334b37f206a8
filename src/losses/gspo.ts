/**
 * GSPO (arXiv:2507.18071, equations 5 and 7): the clipped surrogate with one ratio for a whole sequence, the geometric
 * mean of its tokens' ratios.
 *
 *     ℓ_t = −min(s A_t, clip(s, lo, hi) A_t),    s = exp(1/|y| Σ_t log π_θ(y_t)/π_old(y_t))
 *
 * Tokens of weight 0 count neither in the sum nor in |y|.
 */
import { clippedSurrogate, POLICY_DEFAULTS, policyLoss, sequenceRatio } from "./policy-terms.js";

const defaults = { ...POLICY_DEFAULTS, clip_low_threshold: 1 - 3e-4, clip_high_threshold: 1 + 4e-4 };

export const gspo = policyLoss("gspo", defaults, (loss) => {
  const ratio_S = sequenceRatio(loss, "mean");
  return { ratio_S, surrogate_S: clippedSurrogate(ratio_S, loss) };
});
