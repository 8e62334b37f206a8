/** How requests come, share, wait, end and fail; and what lies in the cache meanwhile. */
import { describe, expect, it } from "vitest";
import { CancelledError, Random, UserError } from "../../src/base/index.js";
import { firstBeams, nextBeams } from "../../src/engine/decoding/index.js";
import { openSampler, type SampleRequest, type TokenEvent, TrainingEngine } from "../../src/engine/index.js";
import { CachedSequence } from "../../src/engine/sampling/cached-sequence.js";
import { KvCache } from "../../src/engine/sampling/kv-cache.js";
import { CACHE_PAGE } from "../../src/graph/index.js";
import { parseModelConfig } from "../../src/nn/index.js";
import { SamplingParams } from "../../src/protocol/index.js";
import { ADAM, randomDatums, TINY_CONFIG, temporaryFolder } from "./tiny-models.js";

const model = { config: TINY_CONFIG, seed: 6 };
const random = new Random(2);
const promptOf = (length: number): number[] => Array.from({ length }, () => random.integer(40));

function request(
  prompt_T: readonly number[],
  params: Partial<SamplingParams> = {},
  rest: Partial<SampleRequest> = {},
): SampleRequest {
  return {
    prompt_T,
    params: SamplingParams.parse({ seed: 1, ...params }),
    numSamples: 1,
    promptLogprobs: false,
    adapter: null,
    ...rest,
  };
}

describe("a request", () => {
  it("ends at maxTokens, at a stop token which it includes, or with the model's positions", async () => {
    const { engine } = await openSampler({ model });
    const all = (await engine.sample(request([1, 2, 3]))).sequences[0]!;
    expect(all).toMatchObject({ stopReason: "length" });
    expect(all.tokens).toHaveLength(TINY_CONFIG.max_position_embeddings - 3);
    const short = (await engine.sample(request([1, 2, 3], { maxTokens: 7 }))).sequences[0]!;
    expect(short).toEqual({
      stopReason: "length",
      tokens: all.tokens.slice(0, 7),
      logprobs: all.logprobs!.slice(0, 7),
      rawLogprobs: all.rawLogprobs!.slice(0, 7),
    });
    const stop = all.tokens[9]!;
    const end = all.tokens.indexOf(stop) + 1;
    const stopped = (await engine.sample(request([1, 2, 3], { stop: [39, stop].sort() }))).sequences[0]!;
    const first39 = all.tokens.indexOf(39);
    const expected = first39 >= 0 && first39 < end ? first39 + 1 : end;
    expect(stopped.stopReason).toBe("stop");
    expect(stopped.tokens).toEqual(all.tokens.slice(0, expected));
    await engine.close();
  });

  it("without a seed takes the sampler's, and another for each request", async () => {
    const draw = async (seed: number): Promise<(readonly number[])[]> => {
      const { engine } = await openSampler({ model, seed });
      const params = SamplingParams.parse({ maxTokens: 20 });
      const outputs = [];
      for (let i = 0; i < 2; i++) outputs.push(await engine.sample({ ...request([4]), params }));
      await engine.close();
      return outputs.map(({ sequences }) => sequences[0]!.tokens);
    };
    const [a, again, b] = [await draw(1), await draw(1), await draw(2)];
    expect(again).toEqual(a);
    expect(a[0]).not.toEqual(a[1]);
    expect(b[0]).not.toEqual(a[0]);
  });

  it("gives samples of a shared prompt what each would get with the prompt to itself", async () => {
    const { engine } = await openSampler({ model });
    for (const length of [1, 15, 16, 17, 33]) {
      const prompt = promptOf(length);
      const shared = await engine.sample(request(prompt, { maxTokens: 20 }, { numSamples: 5 }));
      // Sample 4 of a request of its own, whose other samples end at once, shares no page for long.
      const stops: (readonly number[])[] = [];
      for (let i = 0; i < 5; i++) {
        const alone = await engine.sample(request(prompt, { maxTokens: 20 }, { numSamples: 5 }), {
          isStopped: (sample) => sample !== i,
        });
        stops.push(alone.sequences[i]!.tokens);
      }
      expect(stops).toEqual(shared.sequences.map(({ tokens }) => tokens));
    }
    await engine.close();
  });

  it("streams every token once, in order, with its logprob", async () => {
    const { engine } = await openSampler({ model });
    const events: TokenEvent[] = [];
    const { sequences } = await engine.sample(request([5], { maxTokens: 9 }, { numSamples: 3 }), {
      onTokens: (step) => void events.push(...step),
    });
    for (const [sample, { tokens, logprobs }] of sequences.entries()) {
      const mine = events.filter((event) => event.sample === sample);
      expect(mine).toEqual(tokens.map((token, i) => ({ sample, token, logprob: logprobs![i] })));
    }
    await engine.close();
  });

  it("can be cancelled while it waits and while it runs; the others go on, and no page is lost", async () => {
    const { engine } = await openSampler({ model, maxBatch: 2 });
    const free = engine.freeCacheTokens;
    const expected = await engine.sample(request([7, 8], { maxTokens: 30 }));
    let steps = 0;
    const runs = [
      engine.sample(request([7, 8], { maxTokens: 30 }), { onTokens: () => void steps++ }),
      engine.sample(request([1], { maxTokens: 40 }, { numSamples: 9 }), { isCancelled: () => steps > 4 }),
      engine.sample(request([2], { maxTokens: 40 }), { isCancelled: () => steps > 2 }),
    ];
    const results = await Promise.allSettled(runs);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    expect((results[1] as PromiseRejectedResult).reason).toBeInstanceOf(CancelledError);
    expect(await runs[0]).toEqual(expected);
    expect(engine.freeCacheTokens).toBe(free);
    await engine.close();
  });

  it("whose listener throws fails alone", async () => {
    const { engine } = await openSampler({ model });
    const free = engine.freeCacheTokens;
    const other = engine.sample(request([3], { maxTokens: 12 }));
    const fault = new Error("listener");
    const failing = engine.sample(request([3], { maxTokens: 12 }), {
      onTokens: () => {
        throw fault;
      },
    });
    await expect(failing).rejects.toBe(fault);
    expect(await other).toEqual(await engine.sample(request([3], { maxTokens: 12 })));
    expect(engine.freeCacheTokens).toBe(free);
    await engine.close();
  });

  it("waits while the cache is full, first come first served", async () => {
    const { engine } = await openSampler({ model, cacheTokens: 4 * CACHE_PAGE });
    const ended: number[] = [];
    const lengths = [40, 3, 20, 35, 1];
    const requests = lengths.map((length, i) => request(promptOf(length), { maxTokens: 20, seed: i }));
    const together = requests.map(async (each, i) => {
      const output = await engine.sample(each);
      ended.push(i);
      return output;
    });
    const outputs = await Promise.all(together);
    expect(ended[0]).toBe(0);
    for (const [i, each] of requests.entries()) expect(await engine.sample(each)).toEqual(outputs[i]);
    expect(engine.freeCacheTokens).toBe(4 * CACHE_PAGE);
    await engine.close();
  });
});

it("requests for different adapters run side by side, each with its own", async () => {
  const folders = await Promise.all(
    [1, 2].map(async (seed) => {
      const folder = temporaryFolder();
      const lora = { rank: seed, alpha: 8, ...(seed === 1 ? {} : { targets: ["q_proj", "down_proj"] }) };
      const trainer = await TrainingEngine.create({ model, lora, seed });
      await trainer.forwardBackward(randomDatums(seed, [9, 7]), "cross_entropy");
      trainer.optimStep({ ...ADAM, learningRate: 0.1 });
      trainer.saveWeights(folder);
      await trainer.close();
      return folder;
    }),
  );
  const { engine } = await openSampler({ model, adapters: { one: folders[0]!, two: folders[1]! } });
  const requests = ["one", null, "two", "one"].map((adapter) =>
    request([1, 2], { maxTokens: 15 }, { adapter, numSamples: 2 }),
  );
  const together = await Promise.all(requests.map((each) => engine.sample(each)));
  for (const [i, each] of requests.entries()) expect(await engine.sample(each)).toEqual(together[i]);
  expect(together[3]).toEqual(together[0]);
  expect(new Set(together.map((output) => JSON.stringify(output))).size).toBe(3);
  await engine.close();
});

describe("beams", () => {
  it("are those of the search over the trainer's logits, beside samples that change nothing", async () => {
    const trainer = await TrainingEngine.create({ model });
    const { engine } = await openSampler({ model });
    const free = engine.freeCacheTokens;
    for (const [length, numBeams, stop, earlyStopping] of [
      [3, 4, [], false],
      [15, 3, [2, 9, 30], true],
      [18, 2, [5, 11, 12, 13, 25], "never"],
    ] as const) {
      const prompt = promptOf(length);
      const options = { numBeams, maxTokens: 20, stopTokens: [...stop], lengthPenalty: 0.8, earlyStopping };
      let state = firstBeams();
      while (state.live.length > 0) {
        const logits = [];
        for (const { tokens } of state.live) logits.push(await trainer.nextLogits([...prompt, ...tokens]));
        state = nextBeams(state, logits, options);
      }
      const params = { maxTokens: 20, numBeams, stop: [...stop], lengthPenalty: 0.8, earlyStopping };
      const [{ sequences }] = await Promise.all([
        engine.sample(request(prompt, params, { numSamples: numBeams })),
        engine.sample(request(prompt, { maxTokens: 11 }, { numSamples: 3 })),
      ]);
      expect(sequences.map(({ tokens, stopReason }) => ({ tokens, stopReason }))).toEqual(
        state.finished.map(({ tokens, stopReason }) => ({ tokens, stopReason })),
      );
      for (const [i, { logprobs }] of sequences.entries())
        for (const [t, value] of logprobs!.entries())
          expect(value).toBeCloseTo(state.finished[i]!.logprobs[t]!, 4);
    }
    expect(engine.freeCacheTokens).toBe(free);
    await engine.close();
    await trainer.close();
  });
});

describe("refusals", () => {
  it("say what was found, what was expected and what to do", async () => {
    const { engine } = await openSampler({ model, cacheTokens: 48, maxBatch: 2 });
    const cases: readonly (readonly [SampleRequest, string])[] = [
      [request([]), "Cannot sample: the prompt has 0 tokens, expected at least 1"],
      [
        request([1, 40]),
        "Cannot sample: the prompt has token 40 at position 1, expected an id below the vocabulary size 40",
      ],
      [
        request(promptOf(64)),
        "Cannot sample: the prompt has 64 tokens, expected at most 63: the model has 64 positions",
      ],
      [
        request([1, 2, 3], { maxTokens: 62 }),
        "Cannot sample: the prompt's 3 tokens and maxTokens 62 make 65, expected at most the model's 64 positions. Lower maxTokens to 61, or leave it out",
      ],
      [
        request([1, 2, 3], { maxTokens: 50 }),
        "Cannot sample: a prompt of 3 tokens and 50 new ones need 64 tokens of cache, expected at most cacheTokens 48. Lower maxTokens, or raise cacheTokens",
      ],
      [
        request([1], {}, { adapter: "x" }),
        'Cannot sample: adapter "x" is unknown, expected none: this sampler has no adapters',
      ],
      [request([1], {}, { numSamples: 0 }), "Cannot sample: numSamples is 0, expected a positive integer"],
      [
        request([1], { stop: [40] }),
        "Cannot sample: stop token 40 is unknown, expected an id below the vocabulary size 40",
      ],
      [
        request([1], { maxTokens: 3, numBeams: 3 }),
        "Cannot sample: numBeams is 3, expected at most maxBatch 2, for beams are decoded together. Raise maxBatch",
      ],
      [
        request([1], { numBeams: 1 }, { numSamples: 2 }),
        "Cannot sample: numSamples is 2, expected at most numBeams 1: samples are the best beams",
      ],
    ];
    for (const [each, message] of cases)
      await expect(engine.sample(each)).rejects.toThrow(new UserError(message));
    expect((await engine.sample(request([1], { maxTokens: 4 }))).sequences[0]!.tokens).toHaveLength(4);
    await engine.close();
    await expect(openSampler({ model, maxBatch: 0 })).rejects.toThrow(
      new UserError("Cannot create sampler with maxBatch 0: expected a positive integer"),
    );
  });
});

describe("CachedSequence", () => {
  const config = parseModelConfig(TINY_CONFIG, "of the test");

  it("shares pages with its forks until one of them writes, and gives all of them back", () => {
    const cache = new KvCache(config, 10);
    const trunk = CachedSequence.empty(cache);
    trunk.prepare(20);
    trunk.advance(20);
    expect(cache.pool.free).toBe(8);
    const [left, right] = [trunk.fork(), trunk.fork()];
    expect(cache.pool.free).toBe(8);
    left.prepare(1);
    expect(left.pages[0]).toBe(trunk.pages[0]);
    expect(left.pages[1]).not.toBe(trunk.pages[1]);
    expect(cache.pool.free).toBe(7);
    trunk.release();
    right.prepare(12);
    // Nobody else holds the second page any more, so it was not copied.
    expect(cache.pool.free).toBe(7);
    right.advance(12);
    right.prepare(1);
    expect(cache.pool.free).toBe(6);
    left.release();
    right.release();
    expect(cache.pool.free).toBe(10);
  });

  it("copies what the page held", () => {
    const cache = new KvCache(config, 4);
    const trunk = CachedSequence.empty(cache);
    trunk.prepare(3);
    trunk.advance(3);
    const width = CACHE_PAGE * config.kvHeads * config.headWidth;
    for (const { data } of Object.values(cache.tensors)) data.forEach((_, i) => void (data[i] = i % 1000));
    const fork = trunk.fork();
    fork.prepare(1);
    for (const { data } of Object.values(cache.tensors)) {
      const pageOf = ({ pages }: CachedSequence) => data.slice(pages[0]! * width, (pages[0]! + 1) * width);
      expect(pageOf(fork)).toEqual(pageOf(trunk));
    }
    expect(fork.pages[0]).not.toBe(trunk.pages[0]);
  });
});
