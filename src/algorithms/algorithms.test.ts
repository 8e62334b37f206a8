/** One suite over every algorithm of the table, hand numbers for each. TRL's numbers: tests/engine/trl-losses.test.ts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { zip } from "../base/index.js";
import {
  ALGORITHMS,
  type Algorithm,
  type AlgorithmName,
  groupAdvantages,
  lossFnConfigOf,
  multiObjectiveAdvantages,
  type PolicySettings,
  settingsOf,
} from "./index.js";

const NAMES = Object.keys(ALGORITHMS) as AlgorithmName[];

function advantagesOf(
  name: AlgorithmName,
  rewards_P_G: readonly (readonly number[])[],
  changes: Partial<PolicySettings> = {},
  state = {},
) {
  const algorithm: Algorithm = ALGORITHMS[name];
  return algorithm.advantages(rewards_P_G, settingsOf(name, changes), state);
}

const reward = fc.integer({ min: -3000, max: 3000 }).map((value) => value / 1000);
const groups = fc.array(fc.array(reward, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 5 });
const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
/** REINFORCE's baseline is of the past, so its groups need not be centred. */
const CENTRED = NAMES.filter((name) => name !== "reinforce");

function expectNear(actual: readonly number[], expected: readonly number[], digits = 12): void {
  expect(actual.length).toBe(expected.length);
  for (const [i, value] of actual.entries()) expect(value).toBeCloseTo(expected[i]!, digits);
}

describe.each(NAMES)("%s", (name) => {
  const algorithm: Algorithm = ALGORITHMS[name];

  it("is in the table under its own name, with settings that fit the schema", () => {
    expect(algorithm.name).toBe(name);
    expect(settingsOf(name)).toMatchObject(algorithm.defaults);
  });

  it("gives every reward an advantage, a finite number", () => {
    fc.assert(
      fc.property(groups, (rewards_P_G) => {
        const { advantages_P_G } = advantagesOf(name, rewards_P_G);
        expect(advantages_P_G.map((group) => group.length)).toEqual(rewards_P_G.map((group) => group.length));
        expect(advantages_P_G.flat().every(Number.isFinite)).toBe(true);
      }),
    );
  });

  it("does not care for the order of completions or of groups", () => {
    fc.assert(
      fc.property(groups, (rewards_P_G) => {
        const forth = advantagesOf(name, rewards_P_G).advantages_P_G;
        const reversed = [...rewards_P_G].reverse().map((group) => [...group].reverse());
        const back = advantagesOf(name, reversed).advantages_P_G;
        const mirrored = [...back].reverse().map((group) => [...group].reverse());
        expectNear(forth.flat(), mirrored.flat(), 9);
      }),
    );
  });

  it("orders advantages as rewards", () => {
    fc.assert(
      fc.property(groups, (rewards_P_G) => {
        const { advantages_P_G } = advantagesOf(name, rewards_P_G);
        for (const [p, rewards_G] of rewards_P_G.entries()) {
          const order = rewards_G.map((_, i) => i).sort((i, j) => rewards_G[i]! - rewards_G[j]!);
          for (const [lower, higher] of zip(order.slice(0, -1), order.slice(1))) {
            const [less, more] = [lower, higher].map((i) => advantages_P_G[p]![i]!);
            if (rewards_G[higher]! > rewards_G[lower]!) expect(more!).toBeGreaterThan(less!);
            else expect(more).toBe(less);
          }
        }
      }),
    );
  });

  it("does not change when every reward grows by the same", () => {
    fc.assert(
      fc.property(groups, reward, (rewards_P_G, shift) => {
        const before = advantagesOf(name, rewards_P_G).advantages_P_G.flat();
        const shifted = rewards_P_G.map((group) => group.map((value) => value + shift));
        const after = advantagesOf(name, shifted).advantages_P_G.flat();
        // A spread of 1e-3 over the guard 1e-4 magnifies rounding by a thousand at most.
        expectNear(after, before, 8);
      }),
    );
  });

  it("answers an empty batch and empty groups with none", () => {
    expect(advantagesOf(name, []).advantages_P_G).toEqual([]);
    expect(advantagesOf(name, [[], []]).advantages_P_G).toEqual([[], []]);
  });
});

describe.each(CENTRED)("%s", (name) => {
  it("has advantages that sum to 0 in every group, however they are scaled", () => {
    fc.assert(
      fc.property(groups, fc.constantFrom("group", "batch", "none"), (rewards_P_G, scaleRewards) => {
        for (const group of advantagesOf(name, rewards_P_G, { scaleRewards }).advantages_P_G)
          expect(Math.abs(total(group))).toBeLessThan(1e-8);
      }),
    );
  });

  it("gives exactly 0 where all rewards are equal, and where there is one", () => {
    fc.assert(
      fc.property(reward, fc.integer({ min: 1, max: 7 }), (value, count) => {
        const equal = new Array<number>(count).fill(value);
        const [first, second] = advantagesOf(name, [equal, [1, 0]]).advantages_P_G;
        expect(first!.every((advantage) => advantage === 0)).toBe(true);
        expect(second![0]).toBeGreaterThan(0);
      }),
    );
  });
});

describe("hand numbers", () => {
  const DIVIDED = 0.5 + 1e-4; // the sample's standard deviation of [1, 0, 0, 0] is √(3/4 / 3) = ½

  it.each<[AlgorithmName, Partial<PolicySettings>, number[][], number[][]]>([
    ["grpo", {}, [[1, 0, 0, 0]], [[0.75 / DIVIDED, -0.25 / DIVIDED, -0.25 / DIVIDED, -0.25 / DIVIDED]]],
    ["grpo", { scaleRewards: "none" }, [[1, 0, 0, 0]], [[0.75, -0.25, -0.25, -0.25]]],
    // All four rewards: mean ½, squares 4 · ¼, so the std is √(1/3).
    [
      "grpo",
      { scaleRewards: "batch" },
      [
        [1, 0],
        [1, 0],
      ],
      new Array(2).fill([0.5 / (Math.sqrt(1 / 3) + 1e-4), -0.5 / (Math.sqrt(1 / 3) + 1e-4)]),
    ],
    ["dr_grpo", {}, [[1, 0, 0, 0]], [[0.75, -0.25, -0.25, -0.25]]],
    // Of three siblings 1/3 are right on average.
    ["rloo", {}, [[1, 0, 0, 0]], [[1, -1 / 3, -1 / 3, -1 / 3]]],
    ["rloo", {}, [[1, 0, 0, 0].slice(0, 2)], [[1, -1]]],
    ["reinforce", {}, [[1], [0], [0], [0]], [[0.75], [-0.25], [-0.25], [-0.25]]],
  ])("%s %o of %o", (name, changes, rewards, expected) => {
    const { advantages_P_G } = advantagesOf(name, rewards, changes);
    expectNear(advantages_P_G.flat(), expected.flat());
  });

  it("reinforce() remembers: its baseline is that of the batches before, and moves by 1 − decay", () => {
    const first = advantagesOf("reinforce", [[1], [0]]);
    expect(first.state).toEqual({ baseline: 0.5 });
    const second = advantagesOf("reinforce", [[1], [1]], { baselineDecay: 0.8 }, first.state);
    expect(second.advantages_P_G).toEqual([[0.5], [0.5]]);
    expect(second.state["baseline"]).toBeCloseTo(0.8 * 0.5 + 0.2 * 1, 12);
    expect(advantagesOf("reinforce", [], {}, first.state).state).toEqual(first.state);
  });

  it("rloo() is the group's centred reward times n / (n − 1)", () => {
    fc.assert(
      fc.property(fc.array(reward, { minLength: 2, maxLength: 8 }), (rewards) => {
        const [left] = advantagesOf("rloo", [rewards]).advantages_P_G;
        const [centred] = groupAdvantages([rewards], { scaleRewards: "none" });
        const factor = rewards.length / (rewards.length - 1);
        expectNear(
          left!,
          centred!.map((value) => value * factor),
          9,
        );
      }),
    );
  });

  it("multiObjectiveAdvantages() lets a narrow component count as much as a wide one", () => {
    // In the first group the components disagree, one being a hundred times as wide; in the second they agree.
    const disagree = [
      [100, 0],
      [0, 1],
    ];
    const agree = [
      [100, 1],
      [0, 0],
    ];
    const even = multiObjectiveAdvantages([disagree, agree], [1, 1]);
    expect(Math.abs(even[0]![0]!)).toBeLessThan(1e-3);
    expect(even[1]![0]!).toBeGreaterThan(1);
    const weighed = multiObjectiveAdvantages([disagree, agree], [2, 1]);
    // Normalised: ±1/√2 times 2 − 1 and 2 + 1; the std of ∓1, ±3 (over √2) is √(20/3)/√2.
    expectNear(
      weighed.flat(),
      [1, -1, 3, -3].map((value) => value / Math.sqrt(20 / 3)),
      3,
    );
  });
});

describe("lossFnConfigOf()", () => {
  it.each<[AlgorithmName, Partial<PolicySettings>, number, number]>([
    ["grpo", {}, 0.8, 1.2],
    ["grpo", { epsilonHigh: 0.3 }, 0.8, 1.3],
    ["dapo", {}, 0.8, 1.28],
    ["gspo", {}, 1 - 3e-4, 1 + 4e-4],
    ["cispo", {}, 0, 5],
    ["cispo", { epsilonHigh: null }, 0, 0.2],
    ["reinforce", {}, 0, 1e30],
    ["grpo", { epsilon: null, epsilonHigh: 0.3 }, 0, 1.3],
  ])("%s %o clips at %f and %f", (name, changes, low, high) => {
    const config = lossFnConfigOf(ALGORITHMS[name], settingsOf(name, changes));
    expect(config["clip_low_threshold"]).toBeCloseTo(low, 12);
    expect(config["clip_high_threshold"]).toBeCloseTo(high, 12);
  });

  it("puts the KL where the settings say", () => {
    expect(lossFnConfigOf(ALGORITHMS.grpo, settingsOf("grpo", { beta: 0.1 }))["kl_coef"]).toBe(0.1);
    expect(lossFnConfigOf(ALGORITHMS.rloo, settingsOf("rloo"))["kl_coef"]).toBe(0);
    const k1 = settingsOf("grpo", { klEstimator: "k1", useBiasCorrectionKl: false, delta: 2 });
    expect(lossFnConfigOf(ALGORITHMS.grpo, k1)).toMatchObject({
      kl_estimator: 1,
      kl_bias_correction: 0,
      delta: 2,
    });
  });
});
