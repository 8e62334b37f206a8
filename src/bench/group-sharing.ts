/** A group's training step with its prompt computed once, against the same step with every completion computed whole. */
import { Random } from "../base/index.js";
import { createTrainingClient } from "../engine/index.js";
import { AdamParams, type Datum, modelInputFromTokens } from "../protocol/index.js";
import { type BenchContext, type ClosableContender, compare } from "./bench-context.js";
import { configOf, MODEL_SHAPES, type ModelShape } from "./model-shape.js";
import type { BenchResult } from "./report.js";

/** One prompt and its K sampled completions. */
export const GROUP_SHAPE = { completions: 8, promptTokens: 512, completionTokens: 64 } as const;

/** The peer is our own engine without `sharePrefixes`, so the ratio is what sharing gains. */
export async function groupSharing(context: BenchContext): Promise<BenchResult[]> {
  const results: BenchResult[] = [];
  for (const [name, shape] of [
    ["group-sharing", MODEL_SHAPES.tiny],
    ["group-sharing-small", MODEL_SHAPES.small],
  ] as const) {
    const ours = await openGroupTrainer(shape, { sharePrefixes: true, threads: context.threads });
    const peer = await openGroupTrainer(shape, { sharePrefixes: false, threads: context.threads });
    results.push(await compare(context, name, { ours, peer }, { repeats: 9 }));
  }
  return results;
}

/** A client on fresh weights; a turn is `forwardBackward` of one group and `optimStep`. */
async function openGroupTrainer(
  shape: ModelShape,
  { sharePrefixes, threads }: { readonly sharePrefixes: boolean; readonly threads: number },
): Promise<ClosableContender> {
  const client = await createTrainingClient({
    model: { config: configOf(shape), seed: 0 },
    sharePrefixes,
    threads,
  });
  const datums = randomGroup(shape.vocabularySize);
  const adam = AdamParams.parse({ learningRate: 1e-4 });
  return {
    name: sharePrefixes ? "hone" : "hone without sharing",
    pids: [process.pid],
    seconds: async () => {
      const start = performance.now();
      await client.forwardBackward(datums, "ppo");
      await client.optimStep(adam);
      return (performance.now() - start) / 1000;
    },
    close: () => client.close(),
  };
}

/** Only the completions' tokens have an advantage: those of the prompt are read, not trained. */
function randomGroup(vocabularySize: number): Datum[] {
  const random = new Random(1);
  const { completions, promptTokens, completionTokens } = GROUP_SHAPE;
  const draw = (count: number): number[] =>
    Array.from({ length: count }, () => random.integer(vocabularySize));
  const prompt = draw(promptTokens);
  return Array.from({ length: completions }, () => {
    const tokens = [...prompt, ...draw(completionTokens)];
    const perTarget = (value: number): number[] =>
      tokens.slice(1).map((_, t) => (t < promptTokens - 1 ? 0 : value));
    return {
      modelInput: modelInputFromTokens(tokens.slice(0, -1)),
      lossFnInputs: {
        target_tokens: { data: tokens.slice(1), dtype: "int64" },
        logprobs: { data: perTarget(-Math.log(vocabularySize)), dtype: "float32" },
        advantages: { data: perTarget(random.normal()), dtype: "float32" },
      },
    };
  });
}
