/** Rollouts that earned no valid reward: the grader or the environment is broken, and learning from the rest is biased. */
import type { Guard } from "./guard.js";

export const invalidGuard: Guard = {
  name: "invalid",
  defaults: { warn: 0.02, limit: 0.25, action: "stop", patience: 1 },
  side: "above",
  measure: ({ invalidFraction }) => invalidFraction,
  describe: (value) => `${(100 * value).toFixed(1)} % of the rollouts have no valid reward`,
  remedy: "The run store has each one's reason: mend the environment before training on",
};
