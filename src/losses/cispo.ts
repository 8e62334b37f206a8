/**
 * CISPO (MiniMax-M1, arXiv:2506.13585, equation 4): the clipped ratio is a constant weight, so that no token loses
 * its gradient to the clip.
 *
 *     L = Σ_t −sg(clip(r_t, lo, hi)) · A_t · log π_θ(y_t)
 */
import { clamp, mul, neg, stopGradient } from "../graph/index.js";
import type { Loss } from "./loss.js";
import { importanceRatio } from "./ratio.js";

export const cispo: Loss = {
  name: "cispo",
  inputs: ["logprobs", "advantages"],
  optional: {},
  defaults: { clip_low_threshold: 0, clip_high_threshold: 4 },
  supervisedBy: ["advantages"],
  perToken: ({ trainingLogprobs_S, inputs: { logprobs, advantages }, config }) => {
    const ratio = importanceRatio(trainingLogprobs_S, logprobs!);
    const weight = stopGradient(clamp(ratio, config["clip_low_threshold"]!, config["clip_high_threshold"]!));
    return neg(mul(mul(weight, trainingLogprobs_S), advantages!));
  },
};
