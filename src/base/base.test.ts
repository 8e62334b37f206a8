import { expect, it } from "vitest";
import { expectShape, mean, median, messageOf, quantile, standardDeviation, zip } from "./index.js";

it("zip() pairs equal lengths and throws on unequal ones", () => {
  expect(zip([1, 2], ["a", "b"])).toEqual([
    [1, "a"],
    [2, "b"],
  ]);
  expect(() => zip([1, 2], ["a"], "tokens and weights")).toThrow(
    new RangeError("Cannot zip tokens and weights: lengths 2 and 1 differ, expected equal"),
  );
});

it("expectShape() names the axis that differs", () => {
  expect(() => expectShape("logits_BTV", [8, 128, 50257], { B: 8, T: 128, V: 50257 })).not.toThrow();
  expect(() => expectShape("logits_BTV", [8, 127, 50257], { B: 8, T: 128, V: 50257 })).toThrow(
    "Cannot use logits_BTV of shape [8, 127, 50257], expected [B=8, T=128, V=50257]: axis T differs",
  );
  expect(() => expectShape("rewards_G", [8, 1], { G: 8 })).toThrow("rank differs");
});

it("statistics agree with numbers worked by hand", () => {
  // mean (2 + 4 + 9) / 3 = 5; squares 9 + 1 + 16 = 26
  expect(mean([2, 4, 9])).toBe(5);
  expect(standardDeviation([2, 4, 9])).toBeCloseTo(Math.sqrt(26 / 3), 12);
  expect(standardDeviation([2, 4, 9], 1)).toBeCloseTo(Math.sqrt(13), 12);
  expect(median([9, 2, 4, 5])).toBe(4.5);
  // position 0.25 · 3 = 0.75 between 2 and 4
  expect(quantile([9, 2, 4, 5], 0.25)).toBe(3.5);
  expect(() => mean([])).toThrow("Cannot take mean: 0 values, expected at least 1");
});

it("messageOf() follows the causes", () => {
  expect(messageOf(new Error("outer", { cause: new Error("inner") }))).toBe("outer (cause: inner)");
  expect(messageOf("text")).toBe("text");
});
