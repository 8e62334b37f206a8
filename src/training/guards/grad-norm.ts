/** Gradients explode. A norm that is not finite never gets this far: the update is refused. */
import type { Guard } from "./guard.js";

export const gradNormGuard: Guard = {
  name: "gradNorm",
  defaults: { warn: 20, limit: 200, action: "lower_lr", patience: 3 },
  side: "above",
  measure: ({ gradNorm }) => gradNorm,
  describe: (value) => `the gradient norm before clipping is ${value.toPrecision(3)}`,
  remedy: "Lower learningRate, or gradClipNorm",
};
