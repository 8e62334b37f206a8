/** Draws follow the distribution whose logprobs are reported: χ² over tens of thousands of them, with wrong ones as controls. */
import { expect, it } from "vitest";
import { Random, UserError } from "../../src/base/index.js";
import { createDrawToken, type DrawParams } from "../../src/engine/decoding/index.js";
import { readGoldenSampling } from "../golden/sampling.js";
import { chiSquareTest, upperGamma } from "./chi-square.js";
import { referenceProbabilities } from "./reference-probabilities.js";

const OFF: DrawParams = { temperature: 1, topK: -1, topP: 1, minP: 0, repetitionPenalty: 1 };
const DRAWS = 40_000;

function drawnCounts(
  logits: Float32Array,
  params: DrawParams,
  seen: readonly number[],
  seed: number,
): number[] {
  const draw = createDrawToken(logits.length);
  const random = new Random(seed);
  const counts = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < DRAWS; i++) counts[draw(logits, params, seen, random).token]!++;
  return counts;
}

const SETTINGS: readonly Partial<DrawParams>[] = [
  {},
  { temperature: 0.6 },
  { temperature: 2 },
  { topK: 7 },
  { topP: 0.8 },
  { minP: 0.1 },
  { repetitionPenalty: 1.4 },
  { temperature: 1.3, topK: 20, topP: 0.9 },
  { temperature: 0.7, topP: 0.95, minP: 0.05 },
  { temperature: 1.5, topK: 30, topP: 0.9, minP: 0.02, repetitionPenalty: 1.2 },
];

it.each(SETTINGS)("drawToken() draws from the reference distribution under %j", (setting) => {
  const params = { ...OFF, ...setting };
  for (const { name, logits, seen } of readGoldenSampling().processors) {
    const expected = referenceProbabilities(Float32Array.from(logits), params, seen);
    const counts = drawnCounts(Float32Array.from(logits), params, seen, 17);
    const { p, degreesOfFreedom } = chiSquareTest(counts, expected);
    expect(p, `${name}, seed 17, ${degreesOfFreedom} degrees of freedom`).toBeGreaterThan(1e-4);
  }
});

it("the test of draws fails for a top-p, a temperature, a top-k, a min-p or a penalty that is a little off", () => {
  const { logits, seen } = readGoldenSampling().processors[0]!;
  const right = { ...OFF, temperature: 1.2, topK: 20, topP: 0.9, minP: 0.02, repetitionPenalty: 1.2 };
  const counts = drawnCounts(Float32Array.from(logits), right, seen, 17);
  const pUnder = (wrong: Partial<DrawParams>): number =>
    chiSquareTest(counts, referenceProbabilities(logits, { ...right, ...wrong }, seen)).p;
  expect(pUnder({})).toBeGreaterThan(1e-4);
  expect(pUnder({ topP: 0.85 })).toBeLessThan(1e-9);
  expect(pUnder({ topP: 0.95 })).toBeLessThan(1e-9);
  expect(pUnder({ temperature: 1.25 })).toBeLessThan(1e-9);
  expect(pUnder({ topK: 5 })).toBeLessThan(1e-9);
  expect(pUnder({ minP: 0.1 })).toBeLessThan(1e-9);
  expect(pUnder({ repetitionPenalty: 1.1 })).toBeLessThan(1e-9);
});

it("drawToken() reports the log of the reference probability, and the raw logprob of the logits as they are", () => {
  for (const { logits, seen } of readGoldenSampling().processors) {
    const raw = referenceProbabilities(logits, OFF);
    const draw = createDrawToken(logits.length);
    for (const setting of SETTINGS) {
      const params = { ...OFF, ...setting };
      const expected = referenceProbabilities(Float32Array.from(logits), params, seen);
      const random = new Random(5);
      for (let i = 0; i < 100; i++) {
        const { token, logprob, rawLogprob } = draw(Float32Array.from(logits), params, seen, random);
        expect(logprob).toBeCloseTo(Math.log(expected[token]!), 8);
        expect(rawLogprob).toBeCloseTo(Math.log(raw[token]!), 6);
      }
    }
  }
});

it("temperature 0 takes the greatest penalised logit, the lowest id of equal ones, and reports its raw logprob", () => {
  const draw = createDrawToken(4);
  const random = new Random(1);
  const before = random.state;
  const greedy = { ...OFF, temperature: 0, topK: 1, topP: 0.1 };
  const logits = Float32Array.of(1, 3, 3, 2);
  const total = Math.log(Math.exp(1) + 2 * Math.exp(3) + Math.exp(2));
  expect(draw(logits, greedy, [], random)).toEqual({
    token: 1,
    logprob: expect.closeTo(3 - total, 6),
    rawLogprob: expect.closeTo(3 - total, 6),
  });
  // Divided by 2, tokens 1 and 2 fall to 1.5; of a negative logit the penalty makes a smaller one.
  expect(draw(logits, { ...greedy, repetitionPenalty: 2 }, [1, 2], random)).toEqual({
    token: 3,
    logprob: expect.closeTo(2 - total, 6),
    rawLogprob: expect.closeTo(2 - total, 6),
  });
  expect(
    draw(Float32Array.of(-1, -1.5, -9, -9), { ...greedy, repetitionPenalty: 2 }, [0], random).token,
  ).toBe(1);
  expect(random.state).toEqual(before);
});

it("a draw takes one uniform number, so the same seed gives the same tokens under every setting of truncation", () => {
  const draw = createDrawToken(3);
  const random = new Random(9);
  const twin = new Random(9);
  for (const setting of SETTINGS) {
    draw(Float32Array.of(0, 1, 2), { ...OFF, ...setting }, [], random);
    twin.uniform();
    expect(random.state).toEqual(twin.state);
  }
});

it("drawToken() refuses broken logits with one message", () => {
  const draw = createDrawToken(3);
  const fails = (logits: readonly number[], params: Partial<DrawParams>, found: string): void => {
    expect(() => draw(Float32Array.from(logits), { ...OFF, ...params }, [], new Random(1))).toThrow(
      new UserError(
        `Cannot draw a token: ${found}, expected finite numbers. The model's weights are broken: take an earlier checkpoint`,
      ),
    );
  };
  for (const params of [{}, { topK: 1 }, { temperature: 0 }]) {
    fails([0, Number.NaN, 1], params, "the logit of token 1 is NaN");
    fails([Number.NaN, 0, 1], params, "the logit of token 0 is NaN");
    fails([0, 1, Number.POSITIVE_INFINITY], params, "the logit of token 2 is Infinity");
    fails([0, 1, 2].fill(Number.NEGATIVE_INFINITY), params, "every logit is -Infinity");
  }
  expect(draw(Float32Array.of(Number.NEGATIVE_INFINITY, 0, -1000), OFF, [], new Random(1))).toEqual({
    token: 1,
    logprob: 0,
    rawLogprob: 0,
  });
});

it("chi-square tails are those of the tables", () => {
  // 5 % and 0.1 % points of χ² with 1, 10 and 47 degrees of freedom.
  for (const [df, x, p] of [
    [1, 3.841459, 0.05],
    [10, 18.307038, 0.05],
    [10, 29.588298, 0.001],
    [47, 64.001112, 0.05],
    [10, 3.940299, 0.95],
  ] as const)
    expect(upperGamma(df / 2, x / 2)).toBeCloseTo(p, 6);
});
