/** Our side of the step benchmarks: the embedded training client on a model with random weights. */
import { Random } from "../base/index.js";
import { createTrainingClient } from "../engine/index.js";
import { AdamParams, nextTokenDatum } from "../protocol/index.js";
import type { ClosableContender, TrainerOptions } from "./bench-context.js";
import { configOf, type ModelShape } from "./model-shape.js";

/** A client on fresh weights and a fixed batch of random tokens; a turn is `forwardBackward` and `optimStep`. */
export async function openTrainer(
  shape: ModelShape,
  { quantised = false, gradientCheckpointing = false, storedAs = "float32" }: TrainerOptions,
  threads: number,
): Promise<ClosableContender> {
  const client = await createTrainingClient({
    model: { config: configOf(shape, storedAs), seed: 0 },
    ...(shape.loraRank === null ? {} : { lora: { rank: shape.loraRank, alpha: 2 * shape.loraRank } }),
    ...(quantised ? { quantise: {} } : {}),
    gradientCheckpointing,
    threads,
  });
  const random = new Random(1);
  const datums = Array.from({ length: shape.sequences }, () => {
    const tokens_T = Array.from({ length: shape.tokens + 1 }, () => random.integer(shape.vocabularySize));
    return nextTokenDatum(tokens_T, new Array(tokens_T.length).fill(1));
  });
  const adam = AdamParams.parse({ learningRate: 1e-4 });
  return {
    name: "hone",
    pids: [process.pid],
    seconds: async () => {
      const start = performance.now();
      await client.forwardBackward(datums, "cross_entropy");
      await client.optimStep(adam);
      return (performance.now() - start) / 1000;
    },
    close: () => client.close(),
  };
}
