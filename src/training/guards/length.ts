/** Completions grow without earning more: the policy has learned to talk. */
import type { Guard } from "./guard.js";

export const lengthGuard: Guard = {
  name: "length",
  defaults: { warn: 1.5, limit: 3, action: "warn", patience: 5 },
  side: "above",
  measure: ({ meanLength }, baseline) =>
    meanLength === undefined || baseline.meanLength === 0 ? undefined : meanLength / baseline.meanLength,
  describe: (value) => `completions are ${value.toPrecision(3)} times as long as at the start`,
  remedy: "Look at the longest completions; give length a price, or lower maxTokens",
};
