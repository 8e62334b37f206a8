/** Beam search over real (tiny) models finds the beams and scores of transformers' generate(num_beams=…). */
import { join } from "node:path";
import { expect, it } from "vitest";
import { firstBeams, nextBeams } from "../../src/engine/decoding/index.js";
import { TrainingEngine } from "../../src/engine/index.js";
import { SamplingParams } from "../../src/protocol/index.js";
import { readGoldenSampling } from "../golden/sampling.js";

const MODELS = join(import.meta.dirname, "../golden/models");

for (const name of ["qwen2", "mistral"] as const) {
  it(`nextBeams() finds transformers' beams of the ${name} model under every rule of stopping`, async () => {
    const engine = await TrainingEngine.create({ model: join(MODELS, name) });
    const sampler = engine.samplingEngine();
    try {
      for (const { prompt, maxTokens, options, beams } of readGoldenSampling().beams.filter(
        ({ model }) => model === name,
      )) {
        let state = firstBeams();
        while (state.live.length > 0) {
          const logits_B_V: Float32Array[] = [];
          for (const { tokens } of state.live)
            logits_B_V.push(await engine.nextLogits([...prompt, ...tokens]));
          state = nextBeams(state, logits_B_V, { ...options, maxTokens });
        }
        const label = JSON.stringify(options);
        expect(
          state.finished.map(({ tokens }) => tokens),
          label,
        ).toEqual(beams.map(({ tokens }) => tokens));
        // Float32 forward against float64: 2e-5 in a logit (tools/golden/README.md), ten tokens, over length^-1 at most.
        for (const [i, { score }] of state.finished.entries())
          expect(Math.abs(score / beams[i]!.score - 1), label).toBeLessThan(1e-4);

        // The sampler's cache, forked at every step, gives the same.
        const { stopTokens, ...search } = options;
        const { sequences } = await sampler.sample({
          prompt_T: prompt,
          params: SamplingParams.parse({ ...search, stop: stopTokens, maxTokens }),
          numSamples: options.numBeams,
          promptLogprobs: false,
          adapter: null,
        });
        expect(
          sequences.map(({ tokens }) => tokens),
          label,
        ).toEqual(beams.map(({ tokens }) => tokens));
        for (const [i, { tokens, logprobs }] of sequences.entries()) {
          const score =
            logprobs!.reduce((sum, x) => sum + x, 0) / tokens.length ** (options.lengthPenalty ?? 1);
          expect(Math.abs(score / beams[i]!.score - 1), label).toBeLessThan(1e-4);
        }
      }
    } finally {
      await sampler.close();
      await engine.close();
    }
  });
}
