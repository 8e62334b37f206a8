/** Completions that run into the token limit: no end was learned, or the limit is too low. */
import type { Guard } from "./guard.js";

export const truncationGuard: Guard = {
  name: "truncation",
  defaults: { warn: 0.25, limit: 0.9, action: "stop", patience: 3 },
  side: "above",
  measure: ({ truncatedFraction }) => truncatedFraction,
  describe: (value) => `${(100 * value).toFixed(0)} % of the completions were cut off at maxTokens`,
  remedy: "Raise maxTokens, or check that the model has learned to end its turn",
};
