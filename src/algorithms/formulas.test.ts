/** The smaller formulas: dynamic sampling, the overlong penalty, importance weights and estimates of the KL. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mean, Random, UserError } from "../base/index.js";
import { dynamicSampling, importanceWeights, klEstimates, overlongPenalty } from "./index.js";

describe("overlongPenalty()", () => {
  // The paper's lengths: 16384 expected tokens, a cache of 4096.
  it.each([
    [0, 0],
    [16384, 0],
    [16385, -1 / 4096],
    [18432, -0.5],
    [20480, -1],
    [20481, -1],
    [99999, -1],
  ])("%i tokens cost %f", (length, penalty) => {
    expect(overlongPenalty(length, { maxLength: 20480, cacheLength: 4096 })).toBe(penalty);
  });

  it("without a cache is a cliff at the limit", () => {
    const limits = { maxLength: 10, cacheLength: 0 };
    expect([9, 10, 11].map((length) => overlongPenalty(length, limits))).toEqual([0, 0, -1]);
  });

  it("never grows with the length", () => {
    fc.assert(
      fc.property(fc.nat(200), fc.integer({ min: 1, max: 100 }), fc.nat(100), (length, maxLength, cache) => {
        const limits = { maxLength, cacheLength: Math.min(cache, maxLength) };
        const [now, next] = [length, length + 1].map((tokens) => overlongPenalty(tokens, limits));
        expect(next!).toBeLessThanOrEqual(now!);
        expect(now!).toBeGreaterThanOrEqual(-1);
      }),
    );
  });
});

describe("dynamicSampling()", () => {
  const flat = [1, 1];
  const live = [1, 0];

  it("asks for everything at first, and for no more when enough groups have spread", () => {
    expect(dynamicSampling({ rewards_P_G: [], wanted: 4, budget: 12 })).toEqual({
      kept: [],
      sampleMore: 4,
      isBudgetSpent: false,
    });
    expect(dynamicSampling({ rewards_P_G: [live, flat, live, [], [1], live], wanted: 2, budget: 6 })).toEqual(
      {
        kept: [0, 2],
        sampleMore: 0,
        isBudgetSpent: false,
      },
    );
  });

  it("asks for as many as the share kept makes necessary, within the budget", () => {
    // One of four has spread and one more is wanted: four more, of which three are left.
    const rewards_P_G = [flat, live, flat, flat];
    expect(dynamicSampling({ rewards_P_G, wanted: 2, budget: 20 }).sampleMore).toBe(4);
    expect(dynamicSampling({ rewards_P_G, wanted: 2, budget: 7 }).sampleMore).toBe(3);
    expect(dynamicSampling({ rewards_P_G, wanted: 2, budget: 4 })).toEqual({
      kept: [1],
      sampleMore: 0,
      isBudgetSpent: true,
    });
  });

  it("ends, within its budget, with all the groups that had spread, up to those wanted", () => {
    fc.assert(
      fc.property(
        fc.nat(1e6),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 0, max: 30 }),
        (seed, wanted, more) => {
          const random = new Random(seed);
          const [budget, rewards_P_G] = [wanted + more, [] as number[][]];
          for (;;) {
            const { kept, sampleMore, isBudgetSpent } = dynamicSampling({ rewards_P_G, wanted, budget });
            if (sampleMore === 0) {
              const withSpread = rewards_P_G.filter(([a, b]) => a !== b).length;
              expect(kept.length).toBe(Math.min(wanted, withSpread));
              expect(isBudgetSpent).toBe(kept.length < wanted);
              expect(rewards_P_G.length).toBeLessThanOrEqual(budget);
              return;
            }
            for (let i = 0; i < sampleMore; i++) rewards_P_G.push(random.uniform() < 0.3 ? live : flat);
          }
        },
      ),
    );
  });

  it("refuses a budget below what is wanted", () => {
    expect(() => dynamicSampling({ rewards_P_G: [], wanted: 4, budget: 3 })).toThrow(
      new UserError(
        "Cannot sample dynamically: 4 groups wanted with a budget of 3, expected at least 1 and a budget no smaller",
      ),
    );
  });
});

describe("importanceWeights()", () => {
  // Ratios 4, ½ and 1; the second token was not sampled.
  const tokens = {
    trainingLogprobs_T: [Math.log(0.8), -9, Math.log(0.2), -1],
    samplingLogprobs_T: [Math.log(0.2), -1, Math.log(0.4), -1],
    sampled_T: [1, 0, 1, 1],
  };
  it.each([
    ["off", [1, 1, 1, 1]],
    ["token_truncate", [3, 1, 0.6, 1]],
    ["token_mask", [0, 1, 0, 1]],
    // The product is 2.
    ["sequence_truncate", [2, 1, 2, 2]],
    ["sequence_mask", [2, 1, 2, 2]],
  ] as const)("%s", (importanceCorrection, expected) => {
    const { weights_T } = importanceWeights(tokens, {
      importanceCorrection,
      importanceMin: 0.6,
      importanceMax: 3,
    });
    for (const [t, weight] of weights_T.entries()) expect(weight).toBeCloseTo(expected[t]!, 12);
  });

  it("sequence modes bound and mask the whole sequence", () => {
    const bounds = { importanceMin: null, importanceMax: 1.5 };
    const weightsOf = (importanceCorrection: "sequence_truncate" | "sequence_mask") =>
      importanceWeights(tokens, { importanceCorrection, ...bounds }).weights_T;
    expect(weightsOf("sequence_truncate")).toEqual([1.5, 1, 1.5, 1.5]);
    expect(weightsOf("sequence_mask")).toEqual([0, 1, 0, 0]);
  });

  it("is 1 where sampler and trainer agree", () => {
    const agreeing = { ...tokens, trainingLogprobs_T: tokens.samplingLogprobs_T };
    for (const importanceCorrection of ["token_truncate", "sequence_mask"] as const)
      expect(
        importanceWeights(agreeing, { importanceCorrection, importanceMin: null, importanceMax: 3 })
          .weights_T,
      ).toEqual([1, 1, 1, 1]);
  });
});

describe("klEstimates()", () => {
  it("are 0 for the same policy, and k3 is never negative", () => {
    expect(klEstimates([-1, -2], [-1, -2])).toEqual({ k1: 0, k2: 0, k3: 0 });
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -9, max: 0, noNaN: true }), { minLength: 1 }),
        fc.nat(99),
        (p, seed) => {
          const random = new Random(seed);
          expect(
            klEstimates(
              p,
              p.map((value) => value + random.normal()),
            ).k3,
          ).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });

  it("k1 and k3 estimate the KL of two known distributions", () => {
    const [p, q] = [
      [0.5, 0.3, 0.2],
      [0.4, 0.2, 0.4],
    ];
    const exact = p!.reduce((sum, value, i) => sum + value * Math.log(value / q![i]!), 0);
    const random = new Random(4);
    const drawn = Array.from({ length: 40_000 }, () => {
      const u = random.uniform();
      return u < 0.5 ? 0 : u < 0.8 ? 1 : 2;
    });
    const { k1, k3 } = klEstimates(
      drawn.map((i) => Math.log(p![i]!)),
      drawn.map((i) => Math.log(q![i]!)),
    );
    // Standard errors: k1 0.41/√40000 ≈ 0.002, k3 about 0.001; four of them.
    expect(Math.abs(k1 - exact)).toBeLessThan(0.009);
    expect(Math.abs(k3 - exact)).toBeLessThan(0.005);
    expect(mean([k1, k3])).toBeGreaterThan(0);
  });
});
