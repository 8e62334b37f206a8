import fc from "fast-check";
import { expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { type DrawParams, TokenDistribution } from "../../src/engine/decoding/index.js";
import { readGoldenSampling } from "../golden/sampling.js";
import { referenceProbabilities } from "./reference-probabilities.js";

const OFF: DrawParams = { temperature: 1, topK: -1, topP: 1, minP: 0, repetitionPenalty: 1 };

/** Probabilities of the whole vocabulary, by the logprobs that would be reported. */
function probabilitiesOf(distribution: TokenDistribution): Float64Array {
  const probabilities = new Float64Array(distribution.vocabularySize);
  for (let i = 0; i < distribution.count; i++)
    probabilities[distribution.tokens[i]!] = Math.exp(distribution.logprobAt(i));
  return probabilities;
}

it.each(readGoldenSampling().processors)(
  "TokenDistribution has the probabilities of transformers' logits processors: $name logits",
  ({ name, logits, seen, settings }) => {
    const distribution = new TokenDistribution(logits.length);
    for (const { params, probabilities } of settings) {
      distribution.set(Float32Array.from(logits), { ...OFF, ...params }, seen);
      // Which of equal tokens top-p keeps, transformers leaves to an unstable sort.
      const sorted = (values: ArrayLike<number>): Float64Array =>
        name === "tied" ? Float64Array.from(values).sort() : Float64Array.from(values);
      const ours = sorted(probabilitiesOf(distribution));
      for (const [token, expected] of sorted(probabilities).entries()) {
        // The fixture has 9 digits; penalised logits are rounded to float32 here and in transformers' own runs.
        expect(Math.abs(ours[token]! - expected), `${JSON.stringify(params)} token ${token}`).toBeLessThan(
          1e-6 * expected + 1e-12,
        );
      }
    }
  },
);

const paramsArbitrary: fc.Arbitrary<DrawParams> = fc.record({
  temperature: fc.double({ min: 0.05, max: 4, noNaN: true }),
  topK: fc.oneof(fc.constant(-1), fc.integer({ min: 1, max: 300 })),
  topP: fc.oneof(fc.constant(1), fc.double({ min: 0.001, max: 1, noNaN: true })),
  minP: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true })),
  repetitionPenalty: fc.oneof(fc.constant(1), fc.double({ min: 0.5, max: 2, noNaN: true })),
});

it("TokenDistribution equals a plain sort of everything, at any size, spread and setting", () => {
  const distributions = new Map<number, TokenDistribution>();
  fc.assert(
    fc.property(
      paramsArbitrary,
      fc.constantFrom(1, 2, 63, 64, 65, 300, 2500),
      fc.constantFrom(0, 0.01, 1, 5, 40),
      fc.boolean(),
      fc.integer({ min: 0, max: 1e9 }),
      (params, size, spread, hasTies, seed) => {
        const random = new Random(seed);
        const logits = Float32Array.from({ length: size }, () => {
          const logit = spread * random.normal();
          return hasTies ? Math.round(logit) : logit;
        });
        // The same object again and again: nothing of an earlier call may be left.
        const distribution = distributions.get(size) ?? new TokenDistribution(size);
        distributions.set(size, distribution);
        const seen = [0, size - 1, 0];
        const before = logits.slice();
        distribution.set(logits, params, seen);
        expect(logits).toEqual(before);
        const ours = probabilitiesOf(distribution);
        const expected = referenceProbabilities(logits, params, seen);
        let sum = 0;
        for (let token = 0; token < size; token++) {
          sum += ours[token]!;
          expect(Math.abs(ours[token]! - expected[token]!)).toBeLessThan(1e-9);
        }
        expect(Math.abs(sum - 1)).toBeLessThan(1e-9);
      },
    ),
    { numRuns: 600, seed: 3 },
  );
});

it("top-k keeps every token that equals the k-th, top-p keeps the first of equal ones, the greatest always stays", () => {
  const kept = (logits: readonly number[], params: Partial<DrawParams>): number[] => {
    const distribution = new TokenDistribution(logits.length);
    distribution.set(Float32Array.from(logits), { ...OFF, ...params }, []);
    return [...distribution.tokens.subarray(0, distribution.count)];
  };
  expect(kept([2, 1, 1, 0, 1], { topK: 2 })).toEqual([0, 1, 2, 4]);
  // Four equal tokens: half of them hold p = 0.5.
  expect(kept([1, 1, 1, 1], { topP: 0.5 })).toEqual([0, 1]);
  expect(kept([1, 1, 1, 1], { topP: 0.51 })).toEqual([0, 1, 2]);
  expect(kept([5, 0, 5], { topP: 1e-9 })).toEqual([0]);
  expect(kept([5, 0, 4], { minP: 1 })).toEqual([0]);
  expect(kept([5, 0, 4], { topK: 0 })).toEqual([0, 1, 2]);
  expect(kept([5, 0, 4], { topK: 9 })).toEqual([0, 1, 2]);
  expect(kept([0, Number.NEGATIVE_INFINITY, 1], { topK: 2 })).toEqual([0, 2]);
});
