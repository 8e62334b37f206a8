/** Every family, full and with adapters, against torch, transformers and PEFT: logits, logprobs, losses and all gradients. */
import { describe, expect, it } from "vitest";
import { packBatch, readExample } from "../../src/engine/batch.js";
import { Executable } from "../../src/engine/executable.js";
import type { EngineOptions } from "../../src/engine/options.js";
import { resolveSpec } from "../../src/engine/spec.js";
import { compileLogits, compileTraining, gradientName } from "../../src/engine/training-graph.js";
import { openWeightSource } from "../../src/engine/weight-source.js";
import { loadWeights } from "../../src/engine/weights.js";
import type { Lowering } from "../../src/graph/index.js";
import { LOSSES } from "../../src/losses/index.js";
import { type Datum, modelInputFromTokens } from "../../src/protocol/index.js";
import {
  ADAPTER_NAMES,
  type GoldenBatch,
  type GoldenSequence,
  MODEL_NAMES,
  readGoldenAdapter,
  readGoldenModel,
  summaryOf,
} from "../golden/read.js";
import { createRuntimes } from "../graph/run-model.js";

const runtimes = await createRuntimes();

/** The whole sequence goes in, as transformers saw it: dynamic rope depends on the length. The last token predicts nothing. */
const datumOf = ({ tokens, weights }: GoldenSequence): Datum => ({
  modelInput: modelInputFromTokens(tokens),
  lossFnInputs: {
    target_tokens: { data: [...tokens.slice(1), 0], dtype: "int64" },
    weights: { data: [...weights, 0], dtype: "float32" },
  },
});

async function check(
  options: EngineOptions,
  batch: GoldenBatch,
  rename: (name: string) => string,
  recompute = false,
): Promise<void> {
  const source = openWeightSource(options.model);
  const { spec, adapter } = resolveSpec(options, source);
  const weights = loadWeights(spec, source, { seed: 0, adapter: adapter?.tensors ?? null });
  source.close();
  const loss = LOSSES.cross_entropy;
  const examples = batch.sequences.map((sequence, i) =>
    readExample(datumOf(sequence), i, loss, spec.config.vocabularySize),
  );
  const packed = packBatch(
    spec.config,
    loss,
    examples,
    examples.map((_, i) => i),
    { everyToken: true },
  );
  const inputs = { ...weights.tensors, ...packed.tensors };
  for (const { lowering, runtime } of runtimes) {
    const trainable = weights.trainable.map(({ name }) => name);
    const model = compileTraining(spec, {
      lowering,
      loss,
      lossConfig: {},
      uniform: false,
      trainable,
      gradientCheckpointing: recompute,
    });
    const executable = await Executable.create(runtime, model, { keepDuplicates: recompute });
    const results = await executable.run(inputs);
    executable.release();
    expect(Math.abs((results["loss"]!.data[0] as number) - batch.loss), `${lowering} loss`).toBeLessThan(
      1e-4,
    );
    const logprobs = batch.sequences.flatMap((sequence) => sequence.logprobs);
    const predicted = packed.supervised.flatMap(({ datum, position }, i) =>
      position < batch.sequences[datum]!.tokens.length - 1
        ? [(results["logprobs"]!.data as Float32Array)[i]!]
        : [],
    );
    expect(largestGap(predicted, logprobs), `${lowering} logprobs`).toBeLessThan(2e-5);
    const missing = Object.keys(batch.gradients).filter((name) => !trainable.includes(rename(name)));
    expect(missing).toEqual([]);
    expect(Object.keys(batch.gradients).length).toBe(trainable.length);
    for (const [name, golden] of Object.entries(batch.gradients)) {
      const { data, shape } = results[gradientName(rename(name))]!;
      const summary = summaryOf(shape, data as Float32Array);
      const gaps = [
        summary.norm - golden.norm,
        summary.projection - golden.projection,
        ...summary.values.map((value, i) => value - golden.values[i]!),
      ];
      expect(Math.max(...gaps.map(Math.abs)) / golden.norm, `${lowering} gradient of ${name}`).toBeLessThan(
        1e-4,
      );
    }
    await checkLogits(lowering, runtime, spec, batch, inputs);
  }
}

async function checkLogits(
  lowering: Lowering,
  runtime: (typeof runtimes)[number]["runtime"],
  spec: Parameters<typeof compileLogits>[0],
  batch: GoldenBatch,
  inputs: Parameters<Executable["run"]>[0],
): Promise<void> {
  const executable = await Executable.create(runtime, compileLogits(spec, { lowering, uniform: false }));
  const { logits } = await executable.run(inputs);
  executable.release();
  const V = spec.config.vocabularySize;
  let first = 0;
  for (const { tokens, logits: golden } of batch.sequences) {
    golden.positions.forEach((position, i) => {
      const row = (logits!.data as Float32Array).subarray((first + position) * V, (first + position + 1) * V);
      expect(largestGap(row, golden.values[i]!), `${lowering} logits at ${position}`).toBeLessThan(2e-5);
    });
    first += tokens.length;
  }
}

describe.each(MODEL_NAMES)("%s", (name) => {
  const { folder, batches } = readGoldenModel(name);
  it.each(batches.map((batch, i) => [i, batch] as const))(
    "gives transformers' numbers on batch %i",
    async (_i, batch) => {
      await check({ model: folder }, batch, (key) => key);
    },
  );
  it("gives the same numbers when the backward pass recomputes", async () => {
    await check({ model: folder }, batches[0]!, (key) => key, true);
  });
});

describe.each(ADAPTER_NAMES)("adapter %s", (name) => {
  const { folder, base, batches } = readGoldenAdapter(name);
  it.each(batches.map((batch, i) => [i, batch] as const))(
    "gives PEFT's numbers on batch %i",
    async (_i, batch) => {
      await check({ model: readGoldenModel(base).folder, adapter: folder }, batch, (key) =>
        key.replace(/^base_model\.model\./, ""),
      );
    },
  );
});

function largestGap(actual: ArrayLike<number>, expected: readonly number[]): number {
  expect(actual.length).toBe(expected.length);
  return expected.reduce((gap, value, i) => Math.max(gap, Math.abs(actual[i]! - value)), 0);
}
