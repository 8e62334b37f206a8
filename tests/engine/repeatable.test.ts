/** The same call gives the same bits, at sizes where threads share the work: else a resumed run is another run. */
import { expect, it } from "vitest";
import { TrainingEngine } from "../../src/engine/index.js";
import { AdamParams } from "../../src/protocol/index.js";
import { randomDatums, TINY_CONFIG } from "./tiny-models.js";

const REPEATS = 16;
/** Clears the gradients and leaves the weights as they are. */
const STILL = AdamParams.parse({ learningRate: 0 });

it.each(["native", "cpu"] as const)("forwardBackward repeats to the bit on %s", async (runtime) => {
  const config = { ...TINY_CONFIG, vocab_size: 12, hidden_size: 256, num_hidden_layers: 1 };
  const engine = await TrainingEngine.create({ model: { config, seed: 1 }, runtime });
  // Few ids and rows of many lengths: embeddings are looked up often, and rows have places that hold no token.
  const datums = randomDatums(
    5,
    Array.from({ length: 20 }, (_, i) => 40 + 6 * i),
    config.vocab_size,
  );
  const seen = new Set<string>();
  for (let i = 0; i < REPEATS; i++) {
    const { metrics, lossFnOutputs } = await engine.forwardBackward(datums, "cross_entropy");
    seen.add(JSON.stringify([metrics, lossFnOutputs, engine.optimStep(STILL).metrics["grad_norm:mean"]]));
  }
  await engine.close();
  expect(seen.size).toBe(1);
});
