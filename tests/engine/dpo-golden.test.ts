/** Twenty steps of TRL's DPOTrainer, repeated: losses, rewards, gradient norms and the weights at the end. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Answer,
  answerDatum,
  answerLogprobs,
  DpoLossType,
  dpoLoss,
  pairDatums,
} from "../../src/algorithms/index.js";
import { TrainingEngine } from "../../src/engine/index.js";
import { AdamParams } from "../../src/protocol/index.js";
import { type DpoRun, readPreferenceModels } from "../golden/preference.js";
import { readGoldenSftRun, readGoldenTensors, SFT_MODEL_FOLDER, summaryOf } from "../golden/read.js";
import { temporaryFolder } from "./tiny-models.js";

const folder = temporaryFolder();
const { dpo: runs } = readPreferenceModels();

const answerOf = (prompt: readonly number[], answer: readonly number[]): Answer => ({
  tokens_T: [...prompt, ...answer],
  lossMask_T: [...prompt.map(() => 0), ...answer.map(() => 1)],
});

describe.each(runs.map((run) => [run.name, run] as const))("%s", (name, run) => {
  it.each(["native", "cpu"] as const)(
    "TrainingEngine follows TRL for 20 steps with %s operators",
    async (runtime) => {
      const adapter = name === "lora" ? readGoldenSftRun("lora").adapterFolder! : undefined;
      // Small micro-batches, so that the split is part of what is compared.
      const engine = await TrainingEngine.create({
        model: SFT_MODEL_FOLDER,
        ...(adapter === undefined ? {} : { adapter }),
        runtime,
        microBatchTokens: 64,
      });
      const pairs = await withReference(engine, run);
      const { beta, learningRate } = run.options;
      const lossType = run.options.lossTypes.map((type) => DpoLossType.parse(type));
      const { lossFn, lossFnConfig, nll } = dpoLoss({ lossType, beta });
      for (const [step, batch] of run.batches.entries()) {
        const datums = pairDatums(
          batch.map((row) => pairs[row]!),
          { nll },
        );
        const { metrics } = await engine.forwardBackward(datums, lossFn, { lossFnConfig });
        const where = `step ${step + 1}`;
        expect(Math.abs(metrics["loss:sum"]! - run.losses[step]!), where).toBeLessThan(1e-4);
        for (const [theirs, values] of Object.entries(run.metrics)) {
          // Whether a margin of 0 is above 0 is up to rounding: at the start, and of the pair whose answers are the same.
          const hasTies = step === 0 || batch.includes(run.rows.length - 1);
          if (theirs === "rewards/accuracies" && hasTies) continue;
          const scale = theirs.startsWith("logps") ? 10 : 1; // sums over some thirty tokens
          expect(
            Math.abs(metrics[`${theirs}:sequence_mean`]! - values[step]!),
            `${theirs}, ${where}`,
          ).toBeLessThan(1e-4 * scale);
        }
        const stepped = engine.optimStep(
          AdamParams.parse({ learningRate, beta2: 0.999, eps: 1e-8, gradClipNorm: 1 }),
        );
        const golden = run.gradNorms[step]!;
        expect(Math.abs(stepped.metrics["grad_norm:mean"]! - golden) / golden, where).toBeLessThan(1e-3);
      }
      const saved = join(folder, `${name}-${runtime}`);
      engine.saveWeights(saved);
      await engine.close();
      const file = name === "lora" ? "adapter_model.safetensors" : "model.safetensors";
      const tensors = new Map(
        [...readGoldenTensors(join(saved, file))].map(([key, tensor]) => [
          key.replace("base_model.model.", ""),
          tensor,
        ]),
      );
      expect([...tensors.keys()].sort()).toEqual(Object.keys(run.finalParameters).sort());
      for (const [parameter, expected] of Object.entries(run.finalParameters)) {
        const summary = summaryOf(expected.shape, tensors.get(parameter)!.data);
        expect(Math.abs(summary.norm - expected.norm), parameter).toBeLessThan(1e-3 * expected.norm + 1e-4);
      }
    },
  );

  it("the run has something to say: margins grow, and the policy starts at the reference", () => {
    expect(run.metrics["rewards/margins"]![0]).toBe(0);
    expect(run.metrics["rewards/margins"]!.at(-1)).toBeGreaterThan(0.05);
  });
});

/** Pairs with the reference's logprobs: without the adapter, or, where all weights are trained, from before training. */
async function withReference(engine: TrainingEngine, { name, rows }: DpoRun) {
  const pairs = rows.map(({ prompt, chosen, rejected }) => ({
    chosen: answerOf(prompt, chosen),
    rejected: answerOf(prompt, rejected),
  }));
  const datums = pairs.flatMap(({ chosen, rejected }) => [answerDatum(chosen), answerDatum(rejected)]);
  const options = { supervisedOnly: true, withoutAdapter: name === "lora" };
  const { lossFnOutputs } = await engine.forward(datums, "cross_entropy", options);
  const logprobs = answerLogprobs(datums, lossFnOutputs);
  return pairs.map(({ chosen, rejected }, i) => ({
    chosen: { ...chosen, referenceLogprob: logprobs[2 * i]! },
    rejected: { ...rejected, referenceLogprob: logprobs[2 * i + 1]! },
  }));
}
