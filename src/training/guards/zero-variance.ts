/** Groups whose rewards are all equal have advantages of 0: the step costs its time and teaches nothing. */
import type { Guard } from "./guard.js";

export const zeroVarianceGuard: Guard = {
  name: "zeroVariance",
  defaults: { warn: 0.9, limit: 1, action: "stop", patience: 10 },
  side: "above",
  measure: ({ zeroVarianceFraction }) => zeroVarianceFraction,
  describe: (value) =>
    `${(100 * value).toFixed(0)} % of the groups have equal rewards, so the loss is near 0`,
  remedy:
    "Take tasks the policy solves sometimes, raise temperature or groupSize, or turn dynamicSampling on",
};
