/** Samplers behind their worker threads (built: `npm run build`): a client of its own, and a trainer's. */
import { describe, expect, it } from "vitest";
import { CancelledError, UserError } from "../../src/base/index.js";
import { createSamplingClient, createTrainingClient, openSampler } from "../../src/engine/index.js";
import { modelInputFromTokens, SamplingParams } from "../../src/protocol/index.js";
import { ADAM, randomDatums, TINY_CONFIG } from "./tiny-models.js";

const MODEL = { config: TINY_CONFIG, seed: 3 };
const PROMPT = modelInputFromTokens([1, 2, 3]);
const decode = (tokens: readonly number[]): string =>
  tokens.map((token) => String.fromCharCode(97 + (token % 26))).join("");

describe("createSamplingClient()", () => {
  it("gives the engine's own tokens and logprobs, and streams them", async () => {
    const client = await createSamplingClient({ model: MODEL, threads: 1 });
    const { engine, info } = await openSampler({ model: MODEL, threads: 1 });
    expect(client.info).toEqual(info);
    const params = SamplingParams.parse({ maxTokens: 6, seed: 4 });
    const events: { sample: number; token: number; logprob: number }[] = [];
    const output = await client.sample(PROMPT, params, {
      numSamples: 2,
      promptLogprobs: true,
      onToken: (event) => events.push(event),
    });
    const request = { prompt_T: [1, 2, 3], params, numSamples: 2, promptLogprobs: true, adapter: null };
    expect(output).toEqual(await engine.sample(request));
    for (const [sample, { tokens, logprobs }] of output.sequences.entries()) {
      const streamed = events.filter((event) => event.sample === sample);
      expect(streamed.map(({ token }) => token)).toEqual(tokens);
      expect(streamed.map(({ logprob }) => logprob)).toEqual(logprobs);
    }
    await engine.close();
    await client.close();
  });

  it("ends a sample with the token that completes a stop string", async () => {
    const client = await createSamplingClient({ model: MODEL, threads: 1, decode });
    const params = SamplingParams.parse({ maxTokens: 40, seed: 4 });
    const [free] = (await client.sample(PROMPT, params)).sequences;
    const stop = decode(free!.tokens.slice(4, 6));
    const end = decode(free!.tokens).indexOf(stop) + 2;
    const { sequences } = await client.sample(PROMPT, { ...params, stop }, { numSamples: 1 });
    expect(sequences[0]).toEqual({
      stopReason: "stop",
      tokens: free!.tokens.slice(0, end),
      logprobs: free!.logprobs!.slice(0, end),
      rawLogprobs: free!.rawLogprobs!.slice(0, end),
    });
    await client.close();
  });

  it("refuses a stop string without decode, and parameters out of range", async () => {
    const client = await createSamplingClient({ model: MODEL, threads: 1 });
    const params = SamplingParams.parse({ maxTokens: 2 });
    const attempt = client.sample(PROMPT, { ...params, stop: "a" });
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(
      'Cannot sample with stop string "a": the client was made without decode, expected a function from tokens to text. Give createSamplingClient() decode, or stop at token ids',
    );
    await expect(client.sample(PROMPT, { ...params, stop: ["a", ""] })).rejects.toThrow(UserError);
    await expect(client.sample(PROMPT, { ...params, topP: 2 })).rejects.toThrow("Cannot sample: topP: ");
    await expect(client.sample(modelInputFromTokens([]), params)).rejects.toThrow(
      new UserError("Cannot sample: the prompt has 0 tokens, expected at least 1"),
    );
    await client.close();
  });

  it("cancels one request by its signal and goes on with the others", async () => {
    const client = await createSamplingClient({ model: MODEL, threads: 1 });
    const params = SamplingParams.parse({ maxTokens: 50, seed: 1 });
    const alone = await client.sample(PROMPT, params);
    const controller = new AbortController();
    const cancelled = client.sample(PROMPT, params, {
      signal: controller.signal,
      onToken: () => controller.abort(),
    });
    const other = client.sample(PROMPT, params);
    await expect(cancelled).rejects.toThrow(CancelledError);
    expect(await other).toEqual(alone);
    await client.close();
  });
});

describe("EmbeddedTrainingClient.samplingClient()", () => {
  it("sees the weights of the step before it, and not of the one after", async () => {
    const client = await createTrainingClient({ model: MODEL, threads: 1 });
    const sampler = await client.samplingClient();
    const params = SamplingParams.parse({ maxTokens: 12, temperature: 0 });
    const datums = randomDatums(1, [8, 8, 8]);
    const logprobs = async (): Promise<unknown> => (await sampler.sample(PROMPT, params)).sequences[0];
    const before = await logprobs();
    // All in flight at once: each sample must see whole steps, in the order of the calls.
    const first = logprobs();
    const gradients = client.forwardBackward(datums, "cross_entropy");
    const second = logprobs();
    const step = client.optimStep(ADAM);
    const third = logprobs();
    await Promise.all([gradients, step]);
    const after = await logprobs();
    expect(await first).toEqual(before);
    expect(await second).toEqual(before);
    expect(await third).toEqual(after);
    expect(after).not.toEqual(before);
    await sampler.close();
    await client.close();
  });
});
