/** Preference losses of fixed logprobs: hand numbers, and the laws they obey. Numbers from TRL: trl-preference.test.ts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import * as graph from "../../src/graph/index.js";
import { LOSSES } from "../../src/losses/index.js";
import type { Datum, LossFnConfig, LossFnName } from "../../src/protocol/index.js";
import { createRuntimes, runModel } from "../graph/run-model.js";
import { exactLoss, lossGraph } from "./loss-graph.js";
import { largestGap } from "./tiny-models.js";

const runtimes = await createRuntimes();

/** Every loss over pairs, in every form that a config gives it. */
const PAIRWISE: readonly (readonly [LossFnName, LossFnConfig])[] = [
  ["dpo", { beta: 0.7 }],
  ["dpo", { beta: 0.7, label_smoothing: 0.2 }],
  ["dpo", { sigmoid: 0, hinge: 1, beta: 0.9 }],
  ["dpo", { sigmoid: 0, ipo: 1, beta: 0.4 }],
  ["dpo", { sigmoid: 0, robust: 1, label_smoothing: 0.1 }],
  ["dpo", { sigmoid: 0, sigmoid_norm: 1, beta: 2 }],
  ["dpo", { sigmoid: 0, exo_pair: 1, label_smoothing: 0.01 }],
  ["dpo", { sigmoid: 0.5, nca_pair: 0.3, bco_pair: 0.2, sppo_hard: 0.1, apo_zero: 0.4, apo_down: 0.2 }],
  ["cpo", { cpo_alpha: 0 }],
  ["cpo", { cpo_alpha: 0, sigmoid: 0, hinge: 1 }],
  ["cpo", { cpo_alpha: 0, sigmoid: 0, ipo: 1 }],
  ["simpo", { beta: 2, label_smoothing: 0.1 }],
  ["orpo", { beta: 0.5 }],
  ["bradley_terry", { center_rewards_coefficient: 0.1 }],
];
const titled = PAIRWISE.map(([name, config]) => [`${name} ${JSON.stringify(config)}`, name, config] as const);

interface Numbers {
  readonly datums: readonly Datum[];
  readonly readings: readonly (readonly number[])[];
}

/** One datum of each row of weights: an answer token where the weight is not 0. */
function datumOf(
  lossFn: LossFnName,
  weights: readonly number[],
  inputs: Readonly<Record<string, readonly number[]>>,
): Datum {
  const known = Object.entries(inputs).filter(([name]) => LOSSES[lossFn].inputs.includes(name));
  const floats = (data: readonly number[]) => ({ data: [...data], dtype: "float32" as const });
  return {
    modelInput: { chunks: [{ type: "encoded_text", tokens: weights.map((_, t) => t) }] },
    lossFnInputs: {
      ...(LOSSES[lossFn].reads === "scores"
        ? {}
        : { target_tokens: { data: weights.map(() => 0), dtype: "int64" as const } }),
      weights: floats(weights),
      ...(LOSSES[lossFn].inputs.includes("nll_weights") && inputs["nll_weights"] === undefined
        ? { nll_weights: floats(weights.map(() => 0)) }
        : {}),
      ...Object.fromEntries(known.map(([name, data]) => [name, floats(data)])),
    },
  };
}

/** Pairs of answers of 1 to 6 tokens behind prompts of 1 to 3; reward models read one token of each. */
function randomPairs(lossFn: LossFnName, seed: number, count = 3): Numbers {
  const random = new Random(seed);
  const rows = Array.from({ length: 2 * count }, () => {
    const prompt = 1 + random.integer(3);
    const answer = lossFn === "bradley_terry" ? 1 : 1 + random.integer(6);
    const length = prompt + answer;
    const readings = Array.from({ length }, () =>
      lossFn === "bradley_terry" ? random.normal() : -2 * random.uniform() - 0.05,
    );
    const weights = readings.map((_, t) => (t < prompt ? 0 : 1 / count));
    const reference_logprobs = readings.map((value) => value + 0.4 * random.normal());
    return { readings, datum: datumOf(lossFn, weights, { reference_logprobs, margins: [0] }) };
  });
  return { datums: rows.map(({ datum }) => datum), readings: rows.map(({ readings }) => readings) };
}

const seeds = fc.integer({ min: 0, max: 1e6 });
const law = (holds: (seed: number) => void): void => fc.assert(fc.property(seeds, holds), { numRuns: 25 });
const swapped = <T>(values: readonly T[]): T[] => values.map((_, i) => values[i % 2 === 0 ? i + 1 : i - 1]!);
const gapOf = (a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number =>
  largestGap(a.flat(), b.flat());
const marginOf = (metrics: Readonly<Record<string, number>>): number =>
  metrics["rewards/margins:sequence_mean"] ?? metrics["margin:sequence_mean"]!;

describe("hand numbers", () => {
  // One pair: log π of the chosen answer −1 − 2 = −3 against −5, so d = 2; of the rejected one −4 against −3, so d = −1. Δ = 3.
  const pair = (
    lossFn: LossFnName,
    extra: Readonly<Record<string, readonly number[]>>[] = [{}, {}],
  ): Numbers => ({
    readings: [
      [-9, -1, -2],
      [-9, -4],
    ],
    datums: [
      datumOf(lossFn, [0, 1, 1], { reference_logprobs: [-5], ...extra[0] }),
      datumOf(lossFn, [0, 1], { reference_logprobs: [-3], ...extra[1] }),
    ],
  });
  const softplus = (x: number): number => Math.log(1 + Math.exp(x));
  const odds = (logprob: number): number => logprob - Math.log(1 - Math.exp(logprob));
  it.each<[string, LossFnName, LossFnConfig, number]>([
    ["sigmoid", "dpo", {}, softplus(-0.3)],
    ["sigmoid, smoothed", "dpo", { label_smoothing: 0.1 }, 0.9 * softplus(-0.3) + 0.1 * softplus(0.3)],
    ["hinge", "dpo", { sigmoid: 0, hinge: 1 }, 0.7],
    ["hinge, slack", "dpo", { sigmoid: 0, hinge: 1, beta: 0.5 }, 0],
    // 2/2 − (−1)/1 = 2, minus 1/(2·0.1) = 5.
    ["ipo", "dpo", { sigmoid: 0, ipo: 1 }, 9],
    [
      "robust",
      "dpo",
      { sigmoid: 0, robust: 1, label_smoothing: 0.25 },
      (0.75 * softplus(-0.3) - 0.25 * softplus(0.3)) / 0.5,
    ],
    ["sigmoid_norm", "dpo", { sigmoid: 0, sigmoid_norm: 1 }, softplus(-0.2)],
    ["two types", "dpo", { sigmoid: 2, hinge: 0.5 }, 2 * softplus(-0.3) + 0.35],
    // Sums −3 and −4: a difference of 1. Means −1.5 and −4: of 2.5.
    ["cpo", "cpo", { cpo_alpha: 0 }, softplus(-0.1)],
    ["cpo, ipo", "cpo", { cpo_alpha: 0, sigmoid: 0, ipo: 1 }, 6.25],
    ["simpo", "simpo", { beta: 2, simpo_gamma: 1 }, softplus(-4)],
    ["orpo", "orpo", { beta: 0.5 }, 0.5 * softplus(-(odds(-1.5) - odds(-4)))],
  ])("%s", (_title, lossFn, config, expected) => {
    const { datums, readings } = pair(lossFn);
    expect(exactLoss(LOSSES[lossFn], config, datums, readings).loss).toBeCloseTo(expected, 12);
  });

  it("the supervised part is the weighted sum over the chosen answer, prompts included where they have weights", () => {
    const extra = [{ nll_weights: [0.25, 0.25, 0.25] }, { nll_weights: [0, 0] }];
    const { datums, readings } = pair("orpo", extra);
    const plain = exactLoss(LOSSES.orpo, {}, pair("orpo").datums, readings);
    const { loss, metrics } = exactLoss(LOSSES.orpo, {}, datums, readings);
    expect(loss - plain.loss).toBeCloseTo(0.25 * (9 + 1 + 2), 12);
    expect(metrics["nll_loss:sum"]).toBeCloseTo(3, 12);
    expect(metrics["logps/chosen:sequence_mean"]).toBeCloseTo(-1.5, 12);
  });

  it("a margin and the centring act on scores: 1 against −2 with margin 2", () => {
    const one = (score: number, margin: number) => ({
      readings: [5, score],
      datum: datumOf("bradley_terry", [0, 1], { margins: [margin] }),
    });
    const rows = [one(1, 2), one(-2, 2)];
    const numbers = exactLoss(
      LOSSES.bradley_terry,
      { center_rewards_coefficient: 0.5 },
      rows.map(({ datum }) => datum),
      rows.map(({ readings }) => readings),
    );
    expect(numbers.loss).toBeCloseTo(softplus(-1) + 0.5, 12);
    expect(numbers.metrics["margin:sequence_mean"]).toBeCloseTo(3, 12);
  });

  it("kto values good and bad answers by how far they are from the KL", () => {
    const answer = (label: number, kl: number) =>
      datumOf("kto", [0, 1, 1], { reference_logprobs: [-5], labels: [label], kl: [kl] });
    const config = { beta: 0.5, desirable_weight: 2, undesirable_weight: 3 };
    const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
    // d = 2, z = 1.5: s β (d − z) = ±0.25.
    const good = exactLoss(LOSSES.kto, config, [answer(1, 1.5)], [[-9, -1, -2]]);
    const bad = exactLoss(LOSSES.kto, config, [answer(0, 1.5)], [[-9, -1, -2]]);
    expect(good.loss).toBeCloseTo(2 * (1 - sigmoid(0.25)), 12);
    expect(bad.loss).toBeCloseTo(3 * (1 - sigmoid(-0.25)), 12);
    expect(Math.sign(good.gradient_D_T[0]![1]!)).toBe(-1);
    expect(Math.sign(bad.gradient_D_T[0]![1]!)).toBe(1);
  });
});

describe("laws", () => {
  it.each(titled)("%s: the gradient is that of finite differences", (_title, lossFn, config) => {
    const { datums, readings } = randomPairs(lossFn, 17);
    const { outputs, arrays } = lossGraph(LOSSES[lossFn], config, datums, readings);
    const node = graph
      .nodesOf({ outputs })
      .find(
        ({ op, attributes }) => op.name === "input" && (attributes as { name: string }).name === "readings",
      )!;
    const checked = graph.checkGradient(outputs.total, { readings: node.outputs[0]! }, arrays);
    expect(graph.relativeGap(checked)).toBeLessThan(1e-6);
  });

  it.each(titled)("%s: swapping chosen and rejected turns the margin's sign", (_title, lossFn, config) => {
    law((seed) => {
      const { datums, readings } = randomPairs(lossFn, seed);
      const there = exactLoss(LOSSES[lossFn], config, datums, readings).metrics;
      const back = exactLoss(LOSSES[lossFn], config, swapped(datums), swapped(readings)).metrics;
      expect(marginOf(back)).toBeCloseTo(-marginOf(there), 10);
    });
  });

  it.each(titled)(
    "%s: tokens outside the answers have no influence and no gradient",
    (_title, lossFn, config) => {
      law((seed) => {
        const { datums, readings } = randomPairs(lossFn, seed);
        const changed = readings.map((row, d) =>
          row.map((value, t) => (datums[d]!.lossFnInputs["weights"]!.data[t] === 0 ? -7 : value)),
        );
        const [a, b] = [readings, changed].map((given) =>
          exactLoss(LOSSES[lossFn], config, datums, given),
        ) as [ReturnType<typeof exactLoss>, ReturnType<typeof exactLoss>];
        expect(b.loss).toBe(a.loss);
        expect(gapOf(b.gradient_D_T, a.gradient_D_T)).toBe(0);
        const atPrompts = a.gradient_D_T.flatMap((row, d) =>
          row.filter((_, t) => datums[d]!.lossFnInputs["weights"]!.data[t] === 0),
        );
        expect(atPrompts.every((value) => value === 0)).toBe(true);
      });
    },
  );

  it.each(titled)("%s: a batch is the sum of its pairs, in any order", (_title, lossFn, config) => {
    law((seed) => {
      const { datums, readings } = randomPairs(lossFn, seed);
      const whole = exactLoss(LOSSES[lossFn], config, datums, readings);
      const parts = [2, 0, 1].map((pair) =>
        exactLoss(
          LOSSES[lossFn],
          config,
          datums.slice(2 * pair, 2 * pair + 2),
          readings.slice(2 * pair, 2 * pair + 2),
        ),
      );
      expect(parts.reduce((sum, { loss }) => sum + loss, 0)).toBeCloseTo(whole.loss, 10);
      const ordered = [1, 2, 0].flatMap((part) => parts[part]!.gradient_D_T);
      expect(gapOf(ordered, whole.gradient_D_T)).toBeLessThan(1e-12);
    });
  });

  it("dpo of equal log ratios is log 2, and pulls both answers by half of β", () => {
    law((seed) => {
      const { datums, readings } = randomPairs("dpo", seed, 1);
      const equal = datums.map((datum, d) => ({
        ...datum,
        lossFnInputs: {
          ...datum.lossFnInputs,
          reference_logprobs: { data: [...readings[d]!], dtype: "float32" as const },
        },
      }));
      const { loss, gradient_D_T, metrics } = exactLoss(LOSSES.dpo, { beta: 0.4 }, equal, readings);
      expect(loss).toBeCloseTo(Math.LN2, 12);
      const [chosen, rejected] = gradient_D_T.map((row) => row.at(-1)!) as [number, number];
      expect(chosen).toBeCloseTo(-0.2, 12);
      expect(rejected).toBeCloseTo(0.2, 12);
      expect(metrics["rewards/accuracies:sequence_mean"]).toBe(0);
    });
  });

  it("dpo with β → 0 is log 2 without a gradient, and with β → ∞ its share of β is max(0, −Δ)", () => {
    law((seed) => {
      const { datums, readings } = randomPairs("dpo", seed, 1);
      const none = exactLoss(LOSSES.dpo, { beta: 1e-9 }, datums, readings);
      expect(none.loss).toBeCloseTo(Math.LN2, 7);
      expect(Math.max(...none.gradient_D_T.flat().map(Math.abs))).toBeLessThan(1e-8);
      const delta = marginOf(exactLoss(LOSSES.dpo, { beta: 1 }, datums, readings).metrics);
      expect(exactLoss(LOSSES.dpo, { beta: 1e6 }, datums, readings).loss / 1e6).toBeCloseTo(
        Math.max(0, -delta),
        5,
      );
    });
  });

  it("relatives agree: robust without noise is sigmoid, dpo with a silent reference is cpo, simpo without γ is dpo's normalised form", () => {
    law((seed) => {
      const { datums, readings } = randomPairs("dpo", seed);
      const value = (lossFn: LossFnName, config: LossFnConfig, given: readonly Datum[]): number =>
        exactLoss(LOSSES[lossFn], config, given, readings).loss;
      expect(value("dpo", { sigmoid: 0, robust: 1 }, datums)).toBeCloseTo(value("dpo", {}, datums), 12);
      const silent = datums.map((datum) => ({
        ...datum,
        lossFnInputs: { ...datum.lossFnInputs, reference_logprobs: { data: [0], dtype: "float32" as const } },
      }));
      expect(value("dpo", {}, silent)).toBeCloseTo(value("cpo", { cpo_alpha: 0 }, silent), 12);
      expect(value("dpo", { sigmoid: 0, sigmoid_norm: 1, beta: 2 }, silent)).toBeCloseTo(
        value("simpo", { beta: 2, simpo_gamma: 0 }, silent),
        12,
      );
    });
  });

  it("a reference in one number is the same as in one number per token", () => {
    law((seed) => {
      const { datums, readings } = randomPairs("dpo", seed);
      const summed = datums.map(({ modelInput, lossFnInputs }) => {
        const { weights, reference_logprobs: reference } = lossFnInputs;
        const sum = reference!.data.reduce(
          (total, value, t) => total + (weights!.data[t] === 0 ? 0 : value),
          0,
        );
        return {
          modelInput,
          lossFnInputs: { ...lossFnInputs, reference_logprobs: { data: [sum], dtype: "float32" as const } },
        };
      });
      const [a, b] = [
        exactLoss(LOSSES.dpo, {}, datums, readings),
        exactLoss(LOSSES.dpo, {}, summed, readings),
      ];
      expect(b.loss).toBeCloseTo(a.loss, 10);
      expect(gapOf(b.gradient_D_T, a.gradient_D_T)).toBeLessThan(1e-12);
    });
  });

  it.each(runtimes)(
    "stays finite where float32 has long run out, with $lowering operators",
    async ({ lowering, runtime }) => {
      const { datums } = randomPairs("dpo", 3, 1);
      for (const [lossFn, readings] of [
        ["dpo", -500],
        ["cpo", -500],
        ["orpo", -1e-9],
        ["orpo", -80],
        ["simpo", -500],
      ] as const) {
        const given = datums.map(({ modelInput, lossFnInputs: { weights } }) => ({
          modelInput,
          lossFnInputs: {
            weights: weights!,
            reference_logprobs: { data: [-1], dtype: "float32" as const },
            nll_weights: weights!,
          },
        }));
        for (const sign of [0, 1]) {
          const rows = given.map(({ lossFnInputs }, d) =>
            lossFnInputs.weights.data.map(() => (d === sign ? readings : -1)),
          );
          const { outputs, arrays } = lossGraph(LOSSES[lossFn], { beta: 1 }, given, rows);
          const inputs = Object.fromEntries(
            Object.entries(arrays).map(([name, array]) => [
              name,
              { dtype: name === "sequences" ? ("int64" as const) : ("float32" as const), array },
            ]),
          );
          const results = await runModel(runtime, graph.compile({ outputs }, { lowering }), inputs);
          for (const [name, values] of Object.entries(results))
            expect(Array.from(values).every(Number.isFinite), `${lossFn} ${name}`).toBe(true);
        }
      }
    },
  );
});
