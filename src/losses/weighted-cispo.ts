/**
 * CISPO (MiniMax-M1, arXiv:2506.13585, equation 4) with weights, KL to a reference and entropy.
 *
 *     ℓ_t = −sg(clip(r_t, lo, hi)) A_t log π_θ(y_t)
 *
 * The protocol's `cispo` is the same ℓ and nothing else. Here the upper bound is ScaleRL's 5 (arXiv:2510.13786).
 */
import { clamp, mul, neg, stopGradient } from "../graph/index.js";
import { POLICY_DEFAULTS, policyLoss, tokenRatio } from "./policy-terms.js";

const defaults = { ...POLICY_DEFAULTS, clip_low_threshold: 0, clip_high_threshold: 5 };

export const weightedCispo = policyLoss("weighted_cispo", defaults, (loss) => {
  const { trainingLogprobs_S, inputs, config } = loss;
  const ratio_S = tokenRatio(loss);
  const weight = stopGradient(clamp(ratio_S, config["clip_low_threshold"]!, config["clip_high_threshold"]!));
  return { ratio_S, surrogate_S: neg(mul(mul(weight, inputs["advantages"]!), trainingLogprobs_S)) };
});
