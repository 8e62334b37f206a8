/**
 * The loss of RLOO as TRL has it: the clipped surrogate with the probability ratio of the whole sequence.
 *
 *     ℓ_t = −min(ρ A_t, clip(ρ, lo, hi) A_t),    ρ = π_θ(y)/π_old(y) = Π_t π_θ(y_t)/π_old(y_t)
 *
 * Where ρ = 1 this is REINFORCE on sequences (arXiv:2402.14740, equation 5), if a sequence's weights sum to its share.
 */
import { clippedSurrogate, POLICY_DEFAULTS, policyLoss, sequenceRatio } from "./policy-terms.js";

export const rloo = policyLoss("rloo", POLICY_DEFAULTS, (loss) => {
  const ratio_S = sequenceRatio(loss, "sum");
  return { ratio_S, surrogate_S: clippedSurrogate(ratio_S, loss) };
});
