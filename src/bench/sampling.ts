/** `bench rl`, result `sample-16x64`: 16 prompts of 64 tokens and 64 new tokens each, against transformers' generate. */
import { Random } from "../base/index.js";
import { createSamplingClient } from "../engine/index.js";
import { modelInputFromTokens, SamplingParams } from "../protocol/index.js";
import { type BenchContext, type ClosableContender, compare, openPeer } from "./bench-context.js";
import { configOf, MODEL_SHAPES } from "./model-shape.js";
import type { BenchResult } from "./report.js";

const PROMPTS = 16;
const PROMPT_TOKENS = 64;
const NEW_TOKENS = 64;

export async function benchSampling(context: BenchContext): Promise<BenchResult[]> {
  const peer = await openPeer(context, "hf_generate.py", [
    ...["tiny", "--prompts", String(PROMPTS), "--prompt-tokens", String(PROMPT_TOKENS)],
    ...["--new-tokens", String(NEW_TOKENS), "--serve", "--threads", String(context.threads)],
  ]);
  const result = await compare(context, "sample-16x64", { ours: await openSampling(context), peer });
  const tokens = PROMPTS * NEW_TOKENS;
  return [
    {
      ...result,
      perSecond: tokens / result.seconds!, // measured above, never null here
      ...(result.peerSeconds === null ? {} : { peerPerSecond: tokens / result.peerSeconds }),
    },
  ];
}

/** A sampling client on fresh weights; a turn draws all completions, from prompts that the sampler has not seen. */
async function openSampling({ threads }: BenchContext): Promise<ClosableContender> {
  const shape = MODEL_SHAPES.tiny;
  const client = await createSamplingClient({ model: { config: configOf(shape), seed: 0 }, threads });
  const random = new Random(1);
  let seed = 0;
  return {
    name: "hone",
    pids: [process.pid],
    seconds: async () => {
      const prompts = Array.from({ length: PROMPTS }, () =>
        Array.from({ length: PROMPT_TOKENS }, () => random.integer(shape.vocabularySize)),
      );
      const start = performance.now();
      const outputs = await Promise.all(
        prompts.map((prompt) =>
          client.sample(
            modelInputFromTokens(prompt),
            SamplingParams.parse({ maxTokens: NEW_TOKENS, seed: seed++ }),
          ),
        ),
      );
      const elapsed = (performance.now() - start) / 1000;
      const drawn = outputs.flatMap(({ sequences }) => sequences.flatMap(({ tokens }) => tokens)).length;
      if (drawn !== PROMPTS * NEW_TOKENS)
        throw new Error(`internal: ${drawn} tokens were sampled, expected ${PROMPTS * NEW_TOKENS}`);
      return elapsed;
    },
    close: () => client.close(),
  };
}
