import fc from "fast-check";
import { expect, it } from "vitest";
import { stepsToKeep } from "./retention.js";

it.each([
  ["the best and the latest", [3, 1, 2], 1, [2, 3]],
  ["one step when the best is the latest", [3, 2, 1], 1, [3]],
  ["the two best and the latest", [3, 1, 2, 4], 2, [2, 3, 4]],
  ["the earlier of equal scores", [1, 1, 2], 1, [1, 3]],
  ["newer ones first where none is scored", [null, null, null, null], 2, [3, 4]],
  ["a scored one before an unscored one", [null, 5, null, null], 1, [2, 4]],
  ["a number before NaN", [Number.NaN, 9, 10], 1, [2, 3]],
  ["only the latest when no best is wanted", [1, 2, 3], 0, [3]],
])("stepsToKeep() keeps %s", (_, scores, keepBest, expected) => {
  const checkpoints = scores.map((score, i) => ({ step: i + 1, score }));
  expect([...stepsToKeep(checkpoints, keepBest)].sort((a, b) => a - b)).toEqual(expected);
});

it("stepsToKeep() applied after every save keeps the same as applied once at the end", () => {
  const scores = fc.array(fc.oneof(fc.constant(null), fc.integer({ min: 0, max: 4 })), { minLength: 1 });
  fc.assert(
    fc.property(scores, fc.integer({ min: 0, max: 3 }), (scores, keepBest) => {
      const all = scores.map((score, i) => ({ step: i + 1, score }));
      let kept: typeof all = [];
      for (const checkpoint of all) {
        const keep = stepsToKeep([...kept, checkpoint], keepBest);
        kept = [...kept, checkpoint].filter(({ step }) => keep.has(step));
      }
      expect(new Set(kept.map(({ step }) => step))).toEqual(stepsToKeep(all, keepBest));
    }),
  );
});
