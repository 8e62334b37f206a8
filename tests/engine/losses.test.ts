/** The protocol's losses: torch's numbers, central differences, and the laws they must obey. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import * as graph from "../../src/graph/index.js";
import { LOSSES } from "../../src/losses/index.js";
import {
  type LossFnConfig,
  TinkerLossFnName,
  type TinkerLossFnName as TinkerName,
} from "../../src/protocol/index.js";
import { readGoldenLosses } from "../golden/read.js";
import { largestGap } from "./tiny-models.js";

interface Tokens {
  readonly trainingLogprobs: readonly number[];
  /** By the loss's own names: weights, logprobs, advantages. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
}

/** Loss, loss per token and d loss / d logprobs in float64. */
function lossAndGradient(
  name: TinkerName,
  { trainingLogprobs, inputs }: Tokens,
  config: LossFnConfig = {},
): { readonly loss: number; readonly elementwise: Float64Array; readonly gradient: Float64Array } {
  const loss = LOSSES[name];
  const { elementwise, logprobs, arrays } = lossGraph(name, { trainingLogprobs, inputs }, config);
  expect(Object.keys(arrays).sort()).toEqual(["trainingLogprobs", ...loss.inputs].sort());
  const total = graph.sumAll(elementwise);
  const outputs = { total, elementwise, gradient: graph.gradient(total, [logprobs])[0]! };
  const results = graph.evaluate({ outputs }, arrays);
  return {
    loss: results["total"]!.data[0]!,
    elementwise: results["elementwise"]!.data,
    gradient: results["gradient"]!.data,
  };
}

function lossGraph(name: TinkerName, { trainingLogprobs, inputs }: Tokens, config: LossFnConfig) {
  const loss = LOSSES[name];
  const S = trainingLogprobs.length;
  const logprobs = graph.input("trainingLogprobs", [S]);
  const elementwise = loss.perToken({
    trainingLogprobs_S: logprobs,
    inputs: Object.fromEntries(loss.inputs.map((input) => [input, graph.input(input, [S])])),
    sequences_S: graph.input("sequences", [S], "int64"),
    entropy_S: null,
    config: { ...loss.defaults, ...config },
  });
  const array = (data: readonly number[]) => ({ shape: [S], data: Float64Array.from(data) });
  const arrays = Object.fromEntries([
    ["trainingLogprobs", array(trainingLogprobs)],
    ...loss.inputs.map((input) => [input, array(inputs[input]!)]),
  ]);
  return { elementwise, logprobs, arrays };
}

const golden = readGoldenLosses();
const goldenTokens: Tokens = {
  trainingLogprobs: golden.trainingLogprobs,
  inputs: {
    weights: golden.weights,
    logprobs: golden.samplingLogprobs,
    advantages: golden.advantages,
  },
};
const NAMES = TinkerLossFnName.options;
const POLICY_LOSSES = NAMES.filter((name) => name !== "cross_entropy");

/** Logprobs in −4 … 0, advantages and weights normal. */
function randomTokens(seed: number, count: number): Tokens {
  const random = new Random(seed);
  const draw = (value: () => number): number[] => Array.from({ length: count }, value);
  return {
    trainingLogprobs: draw(() => -4 * random.uniform()),
    inputs: {
      weights: draw(() => random.normal()),
      logprobs: draw(() => -4 * random.uniform()),
      advantages: draw(() => random.normal()),
    },
  };
}

it.each(
  golden.cases.map((example) => [`${example.lossFn} ${JSON.stringify(example.config)}`, example] as const),
)("%s gives torch's value and gradient", (_title, { lossFn, config, loss, gradient }) => {
  // The file has nine digits.
  const actual = lossAndGradient(lossFn, goldenTokens, config);
  expect(Math.abs(actual.loss - loss)).toBeLessThan(1e-7);
  expect(largestGap(actual.gradient, gradient)).toBeLessThan(1e-7);
});

it("the recorded cases cover every loss", () => {
  expect(new Set(golden.cases.map(({ lossFn }) => lossFn))).toEqual(new Set(NAMES));
});

describe("hand numbers", () => {
  // One token with π = e⁻¹ and μ = e⁻², so that r = e; advantage 2, weight 3.
  const one: Tokens = { trainingLogprobs: [-1], inputs: { weights: [3], logprobs: [-2], advantages: [2] } };
  it.each<[TinkerName, LossFnConfig, number, number]>([
    // −w log π = 3, derivative −w.
    ["cross_entropy", {}, 3, -3],
    // −r A = −2e, derivative −r A.
    ["importance_sampling", {}, -2 * Math.E, -2 * Math.E],
    // r is cut at 1.2: −1.2 · 2, and no gradient.
    ["ppo", {}, -2.4, 0],
    // r = e is below 4: sg(e) · 2 · log π = −2e, so the loss is 2e and its derivative −2e.
    ["cispo", {}, 2 * Math.E, -2 * Math.E],
    // The ratio as a weight stops at 2: loss −2 · 2 · (−1) = 4, derivative −4.
    ["cispo", { clip_high_threshold: 2 }, 4, -4],
    // −(A log π − ½ · 0.05 · 1²) = 2 + 0.025, derivative −A + 0.05 · 1.
    ["dro", {}, 2.025, -1.95],
  ])("%s %o", (name, config, loss, gradient) => {
    const actual = lossAndGradient(name, one, config);
    expect(actual.loss).toBeCloseTo(loss, 12);
    expect(actual.gradient[0]).toBeCloseTo(gradient, 12);
  });

  it("ppo() keeps the gradient where a negative advantage is worse unclipped", () => {
    // r = e, A = −2: min(−2e, −2.4) = −2e.
    const actual = lossAndGradient("ppo", { ...one, inputs: { ...one.inputs, advantages: [-2] } });
    expect(actual.loss).toBeCloseTo(2 * Math.E, 12);
    expect(actual.gradient[0]).toBeCloseTo(2 * Math.E, 12);
  });
});

describe("laws", () => {
  it.each(POLICY_LOSSES)("%s at ratio 1 has REINFORCE's gradient −A", (name) => {
    const tokens = randomTokens(1, 50);
    const onPolicy = { ...tokens, inputs: { ...tokens.inputs, logprobs: tokens.trainingLogprobs } };
    const { gradient } = lossAndGradient(name, onPolicy);
    expect(
      largestGap(
        gradient,
        tokens.inputs["advantages"]!.map((advantage) => -advantage),
      ),
    ).toBeLessThan(1e-12);
  });

  it.each(POLICY_LOSSES)("%s with advantages 0 has gradient 0, but for dro's pull", (name) => {
    const tokens = randomTokens(2, 50);
    const { logprobs } = tokens.inputs;
    const { gradient } = lossAndGradient(name, {
      ...tokens,
      inputs: { ...tokens.inputs, advantages: new Array<number>(50).fill(0) },
    });
    const pull = tokens.trainingLogprobs.map((logprob, i) => 0.05 * (logprob - logprobs![i]!));
    expect(
      largestGap(
        gradient,
        pull.map((value) => (name === "dro" ? value : 0)),
      ),
    ).toBeLessThan(1e-15);
  });

  it("ppo() with bounds that never bind is importance_sampling()", () => {
    const tokens = randomTokens(3, 50);
    const bounds = { clip_low_threshold: 0, clip_high_threshold: 1e9 };
    const clipped = lossAndGradient("ppo", tokens, bounds);
    const plain = lossAndGradient("importance_sampling", tokens);
    expect(largestGap(clipped.elementwise, plain.elementwise)).toBe(0);
    expect(largestGap(clipped.gradient, plain.gradient)).toBe(0);
  });

  it("cispo() with bounds that never bind has importance_sampling()'s gradient", () => {
    const tokens = randomTokens(4, 50);
    const cispo = lossAndGradient("cispo", tokens, { clip_high_threshold: 1e9 });
    expect(largestGap(cispo.gradient, lossAndGradient("importance_sampling", tokens).gradient)).toBeLessThan(
      1e-12,
    );
  });

  it.each(NAMES)("%s is a plain sum: order and neighbours do not matter", (name) => {
    const tokens = randomTokens(5, 40);
    const order = new Random(6).shuffled(Array.from({ length: 40 }, (_, i) => i));
    const pick = (values: readonly number[], from: readonly number[]): number[] =>
      from.map((i) => values[i]!);
    const taken = (from: readonly number[]): Tokens => ({
      trainingLogprobs: pick(tokens.trainingLogprobs, from),
      inputs: Object.fromEntries(
        Object.entries(tokens.inputs).map(([key, values]) => [key, pick(values, from)]),
      ),
    });
    const whole = lossAndGradient(name, tokens);
    const mixed = lossAndGradient(name, taken(order));
    expect(mixed.loss).toBeCloseTo(whole.loss, 11);
    expect(largestGap(mixed.gradient, pick([...whole.gradient], order))).toBe(0);
    const halves = [order.slice(0, 13), order.slice(13)].map(
      (half) => lossAndGradient(name, taken(half)).loss,
    );
    expect(halves[0]! + halves[1]!).toBeCloseTo(whole.loss, 11);
  });

  // cispo holds its weight constant: the test after this one.
  it.each(NAMES.filter((name) => name !== "cispo"))("%s differentiates to its central difference", (name) => {
    const tokens = randomTokens(7, 30);
    const { elementwise, logprobs, arrays } = lossGraph(name, tokens, {});
    const check = graph.checkGradient(graph.sumAll(elementwise), { trainingLogprobs: logprobs }, arrays);
    expect(graph.relativeGap(check)).toBeLessThan(1e-6);
  });

  it("cispo() differentiates to the central difference of its frozen-weight form", () => {
    const tokens = randomTokens(8, 30);
    const { gradient } = lossAndGradient("cispo", tokens);
    const expected = tokens.trainingLogprobs.map((logprob, i) => {
      const ratio = Math.exp(logprob - tokens.inputs["logprobs"]![i]!);
      return -Math.min(4, ratio) * tokens.inputs["advantages"]![i]!;
    });
    expect(largestGap(gradient, expected)).toBeLessThan(1e-12);
  });

  // dro's pull needs no advantage; the engine leaves masked tokens out of its graph (packing.test.ts).
  it.each(NAMES.filter((name) => name !== "dro"))("%s: masked tokens have no influence", (name) => {
    const loss = LOSSES[name];
    const tokens = randomTokens(9, 20);
    const masked: Tokens = {
      ...tokens,
      inputs: Object.fromEntries(
        Object.entries(tokens.inputs).map(([key, values]) => [
          key,
          values.map((value, i) => (i % 3 === 0 && loss.supervisedBy.includes(key) ? 0 : value)),
        ]),
      ),
    };
    const changed: Tokens = {
      ...masked,
      trainingLogprobs: masked.trainingLogprobs.map((value, i) => (i % 3 === 0 ? value - 1 : value)),
    };
    const [before, after] = [lossAndGradient(name, masked), lossAndGradient(name, changed)];
    expect(after.loss).toBe(before.loss);
    before.gradient.forEach((value, i) => {
      if (i % 3 === 0) expect(value).toBeCloseTo(0, 15);
    });
  });
});
