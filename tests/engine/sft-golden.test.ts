/** Twenty steps of TRL's SFTTrainer, repeated: losses, gradient norms and the weights at the end. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { epochOrder, type TrainingRow } from "../../src/datasets/index.js";
import { createTrainingClient, TrainingEngine } from "../../src/engine/index.js";
import { AdamParams, nextTokenDatum } from "../../src/protocol/index.js";
import { runSft, type SftProgress } from "../../src/training/index.js";
import {
  type GoldenSftRun,
  readGoldenSftRows,
  readGoldenSftRun,
  readGoldenTensors,
  SFT_MODEL_FOLDER,
  SFT_NAMES,
  summaryOf,
} from "../golden/read.js";
import { largestGap, temporaryFolder } from "./tiny-models.js";

const folder = temporaryFolder();
const { rows } = readGoldenSftRows();

const optionsOf = ({ adapterFolder }: GoldenSftRun) => ({
  model: SFT_MODEL_FOLDER,
  ...(adapterFolder === undefined ? {} : { adapter: adapterFolder }),
});

const isSupervised = (row: number): number[] =>
  rows[row]!.tokens.map((_, i) => Number(i >= rows[row]!.promptLength));

describe.each(SFT_NAMES)("%s", (name) => {
  const run = readGoldenSftRun(name);

  it.each(["native", "cpu"] as const)(
    "TrainingEngine follows TRL for 20 steps with %s operators",
    async (runtime) => {
      // Small micro-batches, so that the split is part of what is compared.
      const engine = await TrainingEngine.create({ ...optionsOf(run), runtime, microBatchTokens: 64 });
      const { beta1, beta2, eps, weightDecay, gradClipNorm } = run.options;
      for (const [step, microBatches] of run.rows.entries()) {
        let loss = 0;
        for (const batch of microBatches) {
          const datums = batch.map((row) =>
            nextTokenDatum(
              rows[row]!.tokens,
              isSupervised(row).map((bit) => bit / run.supervisedTokens[step]!),
            ),
          );
          loss += (await engine.forwardBackward(datums, "cross_entropy")).metrics["loss:sum"]!;
        }
        expect(Math.abs(loss - run.losses[step]!), `loss of step ${step + 1}`).toBeLessThan(1e-4);
        const learningRate = run.learningRates[step]!;
        const { metrics } = engine.optimStep(
          AdamParams.parse({ learningRate, beta1, beta2, eps, weightDecay, gradClipNorm }),
        );
        const golden = run.gradNorms[step]!;
        expect(
          Math.abs(metrics["grad_norm:mean"]! - golden) / golden,
          `norm of step ${step + 1}`,
        ).toBeLessThan(1e-4);
      }
      const saved = join(folder, `${name}-${runtime}`);
      engine.saveWeights(saved);
      await engine.close();
      checkFinalParameters(saved, run);
    },
  );

  it("runSft() with the same rows follows TRL too, rates included", async () => {
    // One epoch over the rows of all steps, laid out so that the seed's shuffle puts them in TRL's order.
    const wanted = run.rows.flat(2);
    const train = new Array<TrainingRow>(wanted.length);
    for (const [place, index] of epochOrder(wanted.length, 7, 0).entries()) {
      const row = wanted[place]!;
      train[index] = {
        tokens_T: Int32Array.from(rows[row]!.tokens),
        lossMask_T: Uint8Array.from(isSupervised(row)),
        line: row + 1,
        promptKey: `${row}`,
      };
    }
    const { rowsPerBatch, accumulation } = run.options;
    const steps: Extract<SftProgress, { kind: "step" }>[] = [];
    const validations: number[] = [];
    const client = await createTrainingClient({ ...optionsOf(run), microBatchTokens: 64 });
    const saved = join(folder, `${name}-loop`);
    await runSft({
      client,
      train,
      trainPath: "rows.jsonl",
      validation: train.slice(0, 5),
      config: {
        ...run.options,
        batchSize: rowsPerBatch * accumulation,
        epochs: 1,
        maxSteps: 20,
        warmupFraction: 0,
        seed: 7,
        evalEvery: 10,
        saveEvery: 0,
        keepCheckpoints: 0,
      },
      recorder: {
        id: "golden",
        logMetrics: (_step, metrics) => {
          if (metrics["loss/validation"] !== undefined) validations.push(metrics["loss/validation"]);
        },
        saveCheckpoint: async () => ({ path: saved }),
        logEvent: () => {},
      },
      clock: () => performance.now(),
      onProgress: (progress) => {
        if (progress.kind === "step") steps.push(progress);
      },
    });
    await client.saveWeights(saved);
    // The last validation by hand: the mean over the supervised tokens of logprobs that `forward` gives for all.
    const perToken = await client.forward(
      train
        .slice(0, 5)
        .map(({ tokens_T, lossMask_T }) => nextTokenDatum(Array.from(tokens_T), Array.from(lossMask_T))),
      "cross_entropy",
    );
    await client.close();
    const supervised = perToken.lossFnOutputs.flatMap(({ logprobs }, i) =>
      logprobs!.data.filter((_, t) => train[i]!.lossMask_T[t + 1] === 1),
    );
    const mean = -supervised.reduce((sum, value) => sum + value, 0) / supervised.length;
    expect(validations).toHaveLength(3);
    expect(validations.at(-1)).toBeCloseTo(mean, 5);

    expect(
      largestGap(
        steps.map(({ loss }) => loss),
        run.losses,
      ),
    ).toBeLessThan(1e-4);
    expect(
      largestGap(
        steps.map(({ learningRate }) => learningRate),
        run.learningRates,
      ),
    ).toBeLessThan(1e-9);
    expect(
      largestGap(
        steps.map(({ gradNorm }) => gradNorm!),
        run.gradNorms,
      ),
    ).toBeLessThan(5e-4);
    checkFinalParameters(saved, run);
  });
});

/** Tolerance: a gradient element near zero may take another sign in its last digit, and Adam steps by sign. */
function checkFinalParameters(saved: string, run: GoldenSftRun): void {
  const file = run.adapterFolder === undefined ? "model.safetensors" : "adapter_model.safetensors";
  const tensors = readGoldenTensors(join(saved, file));
  expect([...tensors.keys()].sort()).toEqual(Object.keys(run.finalParameters).sort());
  for (const [name, golden] of Object.entries(run.finalParameters)) {
    const { shape, data } = tensors.get(name)!;
    const summary = summaryOf(shape, data);
    expect(summary.shape, name).toEqual(golden.shape);
    expect(Math.abs(summary.norm - golden.norm) / golden.norm, `${name} norm`).toBeLessThan(1e-4);
    expect(Math.abs(summary.projection - golden.projection) / golden.norm, `${name} sum`).toBeLessThan(1e-4);
    expect(largestGap(summary.values, golden.values), `${name} values`).toBeLessThan(1e-4);
  }
}
