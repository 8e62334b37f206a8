import { describe, expect, it } from "vitest";
import { Random } from "../../base/index.js";
import { pairedBootstrap } from "./paired-bootstrap.js";
import { wilsonInterval } from "./wilson.js";

/** A binomial draw. */
const correctOf = (random: Random, count: number, probability: number): number => {
  let correct = 0;
  for (let i = 0; i < count; i++) if (random.uniform() < probability) correct++;
  return correct;
};

describe("wilsonInterval()", () => {
  it("gives Newcombe's published numbers", () => {
    // Newcombe, Stat. Med. 17 (1998) 857, table I, method 3.
    const rounded = (correct: number, count: number) => {
      const { low, high } = wilsonInterval(correct, count);
      return [low.toFixed(4), high.toFixed(4)];
    };
    expect(rounded(81, 263)).toEqual(["0.2553", "0.3662"]);
    expect(rounded(15, 148)).toEqual(["0.0624", "0.1605"]);
    expect(rounded(0, 20)).toEqual(["0.0000", "0.1611"]);
    expect(rounded(1, 29)).toEqual(["0.0061", "0.1718"]);
  });

  it("covers the truth about as often as it says", () => {
    const random = new Random(1);
    for (const probability of [0.05, 0.3, 0.7]) {
      let covered = 0;
      for (let trial = 0; trial < 2000; trial++) {
        const { low, high } = wilsonInterval(correctOf(random, 100, probability), 100);
        if (low <= probability && probability <= high) covered++;
      }
      // 2000 trials at 0.95 have a standard error of 0.005; the interval itself is within 0.02 of its level here.
      expect(covered / 2000, `p = ${probability}`).toBeGreaterThan(0.925);
      expect(covered / 2000, `p = ${probability}`).toBeLessThan(0.985);
    }
  });

  it("says nothing of nothing, and refuses what is no proportion", () => {
    expect(wilsonInterval(0, 0)).toMatchObject({ value: 0, low: 0, high: 1 });
    expect(() => wilsonInterval(3, 2)).toThrow("Cannot take a proportion: 3 of 2, expected 0 to 2");
  });
});

describe("pairedBootstrap()", () => {
  it("gives the quantiles of the exact distribution for one differing item in four", () => {
    // d = [1, 0, 0, 0]: 4·D* is binomial(4, 1/4), with P(≤0) = 0.316, P(≤2) = 0.949, P(≤3) = 0.996.
    const result = pairedBootstrap([0, 1, 0, 1], [1, 1, 0, 1], { seed: 5 });
    expect(result).toEqual({
      difference: 0.25,
      low: 0,
      high: 0.75,
      level: 0.95,
      count: 4,
      wins: 1,
      losses: 0,
    });
    // At a level of 0.8 the upper quantile is the 90 % one: P(≤1) = 0.738, P(≤2) = 0.949.
    expect(pairedBootstrap([0, 1, 0, 1], [1, 1, 0, 1], { seed: 5, level: 0.8 })).toMatchObject({
      low: 0,
      high: 0.5,
    });
  });

  it("agrees with the normal approximation for many items", () => {
    // 300 wins, 200 losses of 2000: mean 0.05, variance (500/2000 − 0.05²)/2000, so ± 1.96 · 0.01112.
    const first = Array.from({ length: 2000 }, (_, i) => (i >= 300 && i < 500 ? 1 : 0));
    const second = Array.from({ length: 2000 }, (_, i) => (i < 300 ? 1 : 0));
    const { difference, low, high, wins, losses } = pairedBootstrap(first, second, { seed: 2 });
    expect({ difference, wins, losses }).toEqual({ difference: 0.05, wins: 300, losses: 200 });
    // The quantile of 10,000 resamples has a standard error of about 0.0003.
    expect(Math.abs(low - (0.05 - 1.96 * 0.01112))).toBeLessThan(0.0015);
    expect(Math.abs(high - (0.05 + 1.96 * 0.01112))).toBeLessThan(0.0015);
  });

  it("covers the true difference about as often as it says", () => {
    const random = new Random(9);
    let covered = 0;
    const trials = 400;
    for (let trial = 0; trial < trials; trial++) {
      // Both find the same items hard: the truth is 0.1 of difference.
      const items = Array.from({ length: 200 }, () => random.uniform());
      const first = items.map((ease) => (ease < 0.5 ? 1 : 0));
      const second = items.map((ease) => (ease < 0.6 ? 1 : 0));
      const { low, high } = pairedBootstrap(first, second, { seed: trial, resamples: 1000 });
      if (low <= 0.1 && 0.1 <= high) covered++;
    }
    // Standard error 0.011; the percentile bootstrap covers slightly less than it says.
    expect(covered / trials).toBeGreaterThan(0.9);
    expect(covered / trials).toBeLessThan(0.985);
  });

  it("swaps with its models, and follows the seed", () => {
    const [first, second] = [
      [1, 0, 1, 1, 0, 0, 1, 0],
      [1, 1, 1, 0, 1, 0, 1, 1],
    ];
    const forward = pairedBootstrap(first, second, { seed: 3 });
    const backward = pairedBootstrap(second, first, { seed: 3 });
    expect(backward.low).toBeCloseTo(-forward.high, 12);
    expect(backward.high).toBeCloseTo(-forward.low, 12);
    expect(pairedBootstrap(first, second, { seed: 3 })).toEqual(forward);
  });

  it("refuses models with different numbers of items", () => {
    expect(() => pairedBootstrap([1], [1, 0], { seed: 0 })).toThrow();
    expect(() => pairedBootstrap([], [], { seed: 0 })).toThrow("Cannot take mean: 0 values");
  });

  it("takes 10,000 resamples of a development set in well under a second", () => {
    const scores = Array.from({ length: 1034 }, (_, i) => i % 2);
    const before = process.cpuUsage();
    pairedBootstrap(scores, scores.toReversed(), { seed: 1 });
    const { user } = process.cpuUsage(before);
    expect(user / 1e6).toBeLessThan(1.5);
  });
});
