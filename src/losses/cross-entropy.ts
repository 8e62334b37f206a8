/**
 * Weighted cross-entropy, the loss of supervised fine-tuning.
 *
 *     L = Σ_t −w_t · log π_θ(y_t | x_<t)
 *
 * Weights may be any real numbers: the two-pass form of other losses sends negative ones.
 */
import { mul, neg } from "../graph/index.js";
import type { Loss } from "./loss.js";

export const crossEntropy: Loss = {
  name: "cross_entropy",
  inputs: ["weights"],
  optional: { weights: 1 },
  defaults: {},
  supervisedBy: ["weights"],
  perToken: ({ trainingLogprobs_S, inputs: { weights } }) => neg(mul(trainingLogprobs_S, weights!)),
};
