/**
 * DRO (Richemond et al., arXiv:2405.19107, equation 5, per token): policy gradient with a quadratic pull towards μ.
 *
 *     L = Σ_t −(A_t · log π_θ(y_t) − ½β·(log π_θ(y_t) − log μ(y_t))²)
 */
import { mul, neg, sub } from "../graph/index.js";
import type { Loss } from "./loss.js";

export const dro: Loss = {
  name: "dro",
  inputs: ["logprobs", "advantages"],
  optional: {},
  defaults: { beta: 0.05 },
  // The pull acts where the advantage is 0 too, but not on prompt tokens, whose sampling logprob is the filler 0.
  supervisedBy: ["advantages", "logprobs"],
  perToken: ({ trainingLogprobs_S, inputs: { logprobs, advantages }, config }) => {
    const gap = sub(trainingLogprobs_S, logprobs!);
    return neg(sub(mul(advantages!, trainingLogprobs_S), mul(mul(gap, gap), 0.5 * config["beta"]!)));
  },
};
