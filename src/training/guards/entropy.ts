/** The policy stops exploring: its entropy falls to a small share of what it had at the start. */
import type { Guard } from "./guard.js";

export const entropyGuard: Guard = {
  name: "entropy",
  defaults: { warn: 0.25, limit: 0.05, action: "lower_lr", patience: 5 },
  side: "below",
  // A policy that was certain from the start cannot collapse.
  measure: ({ entropy }, baseline) =>
    entropy === undefined || baseline.entropy < 0.02 ? undefined : entropy / baseline.entropy,
  describe: (value) => `entropy is ${value.toPrecision(3)} of what it was at the start`,
  remedy: "Raise temperature or entropyCoefficient, or lower learningRate",
};
