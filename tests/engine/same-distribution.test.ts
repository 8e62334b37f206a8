/**
 * What the sampler draws follows what the trainer computes: pairs of tokens over thousands of samples against the product
 * of the trainer's forward probabilities, cut off by the definition. So cache, batch and draw are all in what is tested.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { TrainingEngine } from "../../src/engine/index.js";
import { AdamParams, type Datum, modelInputFromTokens, SamplingParams } from "../../src/protocol/index.js";
import { chiSquareTest } from "./chi-square.js";
import { type ReferenceParams, referenceProbabilities } from "./reference-probabilities.js";
import { randomDatums, TINY_CONFIG } from "./tiny-models.js";

const PROMPT = [3, 17, 8, 21, 5];
const SAMPLES = 20_000;
const V = TINY_CONFIG.vocab_size;
const ids = Array.from({ length: V }, (_, id) => id);
const OFF = { temperature: 1, topK: -1, topP: 1, minP: 0, repetitionPenalty: 1 };

let engine: TrainingEngine;

beforeAll(async () => {
  engine = await TrainingEngine.create({
    model: { config: { ...TINY_CONFIG, initializer_range: 0.25 }, seed: 5 },
    lora: { rank: 2, alpha: 8 },
    threads: 1,
  });
  // A few steps, so that the adapter is not nothing.
  for (let step = 0; step < 3; step++) {
    await engine.forwardBackward(randomDatums(step, [12, 9]), "cross_entropy");
    engine.optimStep(AdamParams.parse({ learningRate: 0.05 }));
  }
});
afterAll(() => engine.close());

/** The trainer's logprobs of every next token after each of `prompts`, by its own forward pass. */
async function forwardLogprobs(prompts: readonly (readonly number[])[]): Promise<number[][]> {
  const data = prompts.flatMap((prompt) =>
    ids.map(
      (target): Datum => ({
        modelInput: modelInputFromTokens([...prompt]),
        lossFnInputs: {
          target_tokens: { data: [...prompt.slice(1), target], dtype: "int64" },
          weights: { data: prompt.map(() => 1), dtype: "float32" },
        },
      }),
    ),
  );
  const { lossFnOutputs } = await engine.forward(data, "cross_entropy");
  return prompts.map((prompt, p) =>
    ids.map((id) => lossFnOutputs[p * V + id]!["logprobs"]!.data[prompt.length - 1]!),
  );
}

/** Counts of pairs of tokens, drawn by the sampler of the trainer's weights, with the logprobs it reports. */
async function sampledPairs(params: ReferenceParams, seed: number) {
  const sampler = engine.samplingEngine({ maxBatch: 256 });
  const { sequences } = await sampler.sample({
    prompt_T: PROMPT,
    params: SamplingParams.parse({ ...params, maxTokens: 2, seed }),
    numSamples: SAMPLES,
    promptLogprobs: false,
    adapter: null,
  });
  await sampler.close();
  const counts = new Array<number>(V * V).fill(0);
  for (const { tokens } of sequences) counts[tokens[0]! * V + tokens[1]!]!++;
  return { counts, sequences };
}

it.each([
  {},
  { temperature: 0.7 },
  { temperature: 1.8 },
  { topK: 6 },
  { topP: 0.75 },
  { minP: 0.2 },
  { temperature: 1.4, topK: 10, topP: 0.85 },
])("20,000 pairs of tokens follow the trainer's forward distribution under %j", async (setting) => {
  const params = { ...OFF, ...setting };
  const [first] = await forwardLogprobs([PROMPT]);
  const second = await forwardLogprobs(ids.map((id) => [...PROMPT, id]));
  const under = (given: ReferenceParams): number[] => {
    const [p1, p2] = [
      referenceProbabilities(first!, given),
      second.map((row) => referenceProbabilities(row, given)),
    ];
    return ids.flatMap((a) => ids.map((b) => p1[a]! * p2[a]![b]!));
  };
  const { counts, sequences } = await sampledPairs(params, 29);
  const { p, degreesOfFreedom } = chiSquareTest(counts, under(params));
  expect(degreesOfFreedom).toBeGreaterThan(10);
  expect(p, `seed 29, ${degreesOfFreedom} degrees of freedom`).toBeGreaterThan(1e-4);

  // Distributions a little off are told apart by the same counts.
  const { temperature, topK, topP } = params;
  expect(chiSquareTest(counts, under({ ...params, temperature: temperature * 1.2 })).p).toBeLessThan(1e-6);
  if (topK > 0) expect(chiSquareTest(counts, under({ ...params, topK: topK - 1 })).p).toBe(0);
  if (topP < 1) expect(chiSquareTest(counts, under({ ...params, topP: topP + 0.1 })).p).toBeLessThan(1e-6);

  // What is reported is what was drawn from, and the trainer's own logprob.
  for (const { tokens, logprobs, rawLogprobs } of sequences.slice(0, 500)) {
    const [a, b] = [tokens[0]!, tokens[1]!];
    expect(Math.abs(rawLogprobs![0]! - first![a]!)).toBeLessThan(1e-4);
    expect(Math.abs(rawLogprobs![1]! - second[a]![b]!)).toBeLessThan(1e-4);
    const drawnFrom = [
      referenceProbabilities(first!, params)[a]!,
      referenceProbabilities(second[a]!, params)[b]!,
    ];
    for (const [t, probability] of drawnFrom.entries())
      expect(Math.abs(logprobs![t]! - Math.log(probability))).toBeLessThan(1e-4);
  }
});
