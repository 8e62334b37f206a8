/**
 * Policy gradient with importance sampling, off-policy correct to first order.
 *
 *     L = Σ_t −r_t · A_t,    r_t = π_θ(y_t) / μ(y_t)
 *
 * At r = 1 the gradient is REINFORCE's, −A ∇log π_θ (Williams, 1992).
 */
import { mul, neg } from "../graph/index.js";
import type { Loss } from "./loss.js";
import { importanceRatio } from "./ratio.js";

export const importanceSampling: Loss = {
  name: "importance_sampling",
  inputs: ["logprobs", "advantages"],
  optional: {},
  defaults: {},
  supervisedBy: ["advantages"],
  perToken: ({ trainingLogprobs_S, inputs: { logprobs, advantages } }) =>
    neg(mul(importanceRatio(trainingLogprobs_S, logprobs!), advantages!)),
};
