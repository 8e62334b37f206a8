/** What the sampler computes: the trainer's own numbers, for every family, adapter, precision and runtime. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import {
  type EngineOptions,
  openSampler,
  type SampleRequest,
  type SamplingEngine,
  type SamplingEngineOptions,
  TrainingEngine,
} from "../../src/engine/index.js";
import { modelInputFromTokens, type SampledSequence, SamplingParams } from "../../src/protocol/index.js";
import { ADAPTER_NAMES, MODEL_NAMES, readGoldenAdapter, readGoldenModel } from "../golden/read.js";
import { ADAM, largestGap, randomDatums, TINY_CONFIG, temporaryFolder } from "./tiny-models.js";

const RUNTIMES = ["native", "cpu"] as const;

function request(prompt_T: readonly number[], rest: Partial<SampleRequest> = {}): SampleRequest {
  const params = SamplingParams.parse({ seed: 5 });
  return { prompt_T, params, numSamples: 1, promptLogprobs: false, adapter: null, ...rest };
}

/** Logprob of each token but the first, by the trainer's forward pass. */
async function trainerLogprobs(engine: TrainingEngine, tokens_T: readonly number[]): Promise<number[]> {
  const datum = {
    modelInput: modelInputFromTokens(tokens_T.slice(0, -1)),
    lossFnInputs: { target_tokens: { data: tokens_T.slice(1), dtype: "int64" as const } },
  };
  const { lossFnOutputs } = await engine.forward([datum], "cross_entropy");
  return [...lossFnOutputs[0]!["logprobs"]!.data];
}

/** Prompts of unequal lengths, several samples of each, all in one batch: each must have the trainer's logprobs. */
async function expectTrainersLogprobs(
  sampler: SamplingEngine,
  trainer: TrainingEngine,
  adapter: string | null = null,
): Promise<void> {
  const { vocabularySize, maxPositions } = trainer.info;
  const random = new Random(7);
  const longest = Math.min(40, maxPositions);
  const lengths = [1, Math.floor(longest / 2), longest - 3];
  await Promise.all(
    lengths.map(async (length, i) => {
      const prompt = Array.from({ length }, () => random.integer(vocabularySize));
      const params = SamplingParams.parse({ seed: i, maxTokens: Math.min(21, longest - length) });
      const output = await sampler.sample(
        request(prompt, { params, numSamples: 2, promptLogprobs: true, adapter }),
      );
      for (const { tokens, logprobs, rawLogprobs } of output.sequences) {
        expect(tokens).toHaveLength(params.maxTokens!);
        const expected = await trainerLogprobs(trainer, [...prompt, ...tokens]);
        expect(largestGap(rawLogprobs!, expected.slice(length - 1))).toBeLessThan(1e-4);
        expect(largestGap(logprobs!, rawLogprobs!)).toBeLessThan(1e-6);
        expect(output.promptLogprobs![0]).toBeNull();
        const known = output.promptLogprobs!.slice(1).map((value) => value!);
        expect(largestGap(known, expected.slice(0, length - 1))).toBeLessThan(1e-4);
      }
    }),
  );
}

async function compare(trainerOptions: EngineOptions, samplerOptions: SamplingEngineOptions): Promise<void> {
  for (const runtime of RUNTIMES) {
    const trainer = await TrainingEngine.create({ ...trainerOptions, runtime });
    const { engine } = await openSampler({ ...samplerOptions, runtime });
    await expectTrainersLogprobs(engine, trainer, samplerOptions.adapters === undefined ? null : "it");
    await engine.close();
    await trainer.close();
  }
}

describe("sampled logprobs are the trainer's within 1e-4", () => {
  it.each(MODEL_NAMES)("for %s", async (name) => {
    const model = readGoldenModel(name).folder;
    await compare({ model }, { model });
  });

  it.each(ADAPTER_NAMES)("for adapter %s", async (name) => {
    const { folder, base } = readGoldenAdapter(name);
    const model = readGoldenModel(base).folder;
    await compare({ model, adapter: folder }, { model, adapters: { it: folder } });
  });

  it.each([[{ block: 32, symmetric: true }], [{ block: 32, symmetric: false }]] as const)(
    "for 4-bit weights, %o",
    async (quantise) => {
      const model = { config: TINY_CONFIG, seed: 2 };
      const folder = temporaryFolder();
      const trainer = await TrainingEngine.create({ model, quantise, lora: { rank: 2, alpha: 4 } });
      await trainer.forwardBackward(randomDatums(1, [9]), "cross_entropy");
      trainer.optimStep(ADAM);
      trainer.saveWeights(folder);
      await trainer.close();
      await compare({ model, quantise, adapter: folder }, { model, quantise, adapters: { it: folder } });
    },
  );

  it("for bf16 weights", async () => {
    const model = { config: { ...TINY_CONFIG, torch_dtype: "bfloat16" }, seed: 2 };
    await compare({ model }, { model });
  });

  it("for the current weights of a trainer, before and after a step", async () => {
    for (const lora of [null, { rank: 2, alpha: 4 }]) {
      for (const runtime of RUNTIMES) {
        const model = { config: TINY_CONFIG, seed: 2 };
        const trainer = await TrainingEngine.create({ model, runtime, ...(lora === null ? {} : { lora }) });
        const sampler = trainer.samplingEngine();
        await expectTrainersLogprobs(sampler, trainer);
        const before = await sampler.sample(request([1, 2]));
        await trainer.forwardBackward(randomDatums(1, [9, 8]), "cross_entropy");
        trainer.optimStep(ADAM);
        await expectTrainersLogprobs(sampler, trainer);
        expect(await sampler.sample(request([1, 2]))).not.toEqual(before);
        await sampler.close();
        await trainer.close();
      }
    }
  });
});

it("greedy samples take the likeliest token by the trainer's logits", async () => {
  const model = { config: TINY_CONFIG, seed: 2 };
  for (const runtime of RUNTIMES) {
    const trainer = await TrainingEngine.create({ model, runtime });
    const { engine } = await openSampler({ model, runtime });
    const params = SamplingParams.parse({ temperature: 0, maxTokens: 20 });
    const { sequences } = await engine.sample(request([3, 1, 4], { params }));
    const tokens = [3, 1, 4];
    for (const token of sequences[0]!.tokens) {
      const logits = await trainer.nextLogits(tokens);
      expect(token).toBe(logits.indexOf(Math.max(...logits)));
      tokens.push(token);
    }
    await engine.close();
    await trainer.close();
  }
});

describe("one batch of many", () => {
  const model = { config: TINY_CONFIG, seed: 9 };
  const random = new Random(3);
  /** Unequal prompts, ends, seeds and ways to draw. */
  const requests: readonly SampleRequest[] = Array.from({ length: 12 }, (_, i) => ({
    prompt_T: Array.from({ length: 1 + random.integer(40) }, () => random.integer(40)),
    params: SamplingParams.parse({
      seed: i,
      maxTokens: 1 + random.integer(20),
      temperature: [1, 0.7, 0, 1.5][i % 4],
      topK: i % 3 === 0 ? 5 : -1,
      topP: i % 3 === 1 ? 0.8 : 1,
      minP: i % 5 === 0 ? 0.05 : 0,
      repetitionPenalty: i % 4 === 3 ? 1.2 : 1,
      ...(i % 2 === 0 ? {} : { stop: [7, 11] }),
    }),
    numSamples: 1 + (i % 3),
    promptLogprobs: i % 3 === 2,
    adapter: null,
  }));
  const tokensOf = ({ sequences }: { readonly sequences: readonly SampledSequence[] }) =>
    sequences.map(({ tokens, stopReason }) => ({ tokens, stopReason }));

  it.each(RUNTIMES)("gives the tokens of one request at a time (%s)", async (runtime) => {
    const { engine } = await openSampler({ model, runtime });
    const together = await Promise.all(requests.map((each) => engine.sample(each)));
    for (const [i, each] of requests.entries()) {
      const alone = await engine.sample(each);
      expect(tokensOf(alone), `request ${i}`).toEqual(tokensOf(together[i]!));
      // Own kernels compute a row alike whatever runs beside it; stock ones within rounding.
      if (runtime === "native") expect(alone).toEqual(together[i]!);
    }
    await engine.close();
  });

  it("gives the same bits with few rows, little cache and one thread", async () => {
    const { engine } = await openSampler({ model });
    const expected = await Promise.all(requests.map((each) => engine.sample(each)));
    await engine.close();
    for (const options of [{ maxBatch: 1 }, { maxBatch: 5 }, { cacheTokens: 112 }, { threads: 1 }]) {
      const { engine: other } = await openSampler({ model, ...options });
      expect(await Promise.all(requests.map((each) => other.sample(each)))).toEqual(expected);
      await other.close();
    }
  });

  it("sample i of a request does not depend on how many there are", async () => {
    const { engine } = await openSampler({ model });
    const prompt = requests[3]!.prompt_T;
    const params = SamplingParams.parse({ seed: 8, maxTokens: 18 });
    const many = await engine.sample(request(prompt, { params, numSamples: 7 }));
    const few = await engine.sample(request(prompt, { params, numSamples: 2 }));
    expect(few.sequences).toEqual(many.sequences.slice(0, 2));
    expect(new Set(many.sequences.map(({ tokens }) => tokens.join())).size).toBe(7);
    await engine.close();
  });
});
