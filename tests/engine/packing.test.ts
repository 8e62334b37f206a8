/** No token sees another sample, and no number depends on how samples are packed, split or laid out. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packBatch, readExample } from "../../src/engine/batch.js";
import { Executable } from "../../src/engine/executable.js";
import { type EngineOptions, TrainingEngine } from "../../src/engine/index.js";
import { resolveSpec } from "../../src/engine/spec.js";
import { compileTraining, gradientName } from "../../src/engine/training-graph.js";
import { openWeightSource } from "../../src/engine/weight-source.js";
import { loadWeights } from "../../src/engine/weights.js";
import { LOSSES } from "../../src/losses/index.js";
import type { Datum, LossFnName } from "../../src/protocol/index.js";
import { type ModelName, readGoldenAdapter, readGoldenModel, SFT_MODEL_FOLDER } from "../golden/read.js";
import { createRuntimes } from "../graph/run-model.js";
import {
  largestGap,
  largestRelativeGap,
  randomDatums,
  takeGradients,
  temporaryFolder,
} from "./tiny-models.js";

const runtimes = await createRuntimes();
const folder = temporaryFolder();

interface Computed {
  /** Per datum. */
  readonly logprobs: readonly Float32Array[];
  readonly gradients: ReadonlyMap<string, { readonly data: Float32Array }>;
}

/** Computes datums as one micro-batch, with a graph for uniform batches or one for any. */
function createComputer(options: EngineOptions, { lowering, runtime }: (typeof runtimes)[number]) {
  const source = openWeightSource(options.model);
  const { spec, adapter } = resolveSpec(options, source);
  const weights = loadWeights(spec, source, { seed: 0, adapter: adapter?.tensors ?? null });
  source.close();
  const loss = LOSSES.cross_entropy;
  const trainable = weights.trainable.map(({ name }) => name);
  const executables = new Map<boolean, Promise<Executable>>();
  const executableOf = (uniform: boolean): Promise<Executable> => {
    const made =
      executables.get(uniform) ??
      Executable.create(
        runtime,
        compileTraining(spec, {
          lowering,
          loss,
          lossConfig: {},
          uniform,
          trainable,
          gradientCheckpointing: false,
        }),
      );
    executables.set(uniform, made);
    return made;
  };
  return async (datums: readonly Datum[], uniform = false): Promise<Computed> => {
    const examples = datums.map((datum, i) => readExample(datum, i, loss, spec.config.vocabularySize));
    const batch = packBatch(
      spec.config,
      loss,
      examples,
      examples.map((_, i) => i),
      { everyToken: true },
    );
    const executable = await executableOf(uniform);
    const results = await executable.run({ ...weights.tensors, ...batch.tensors });
    const logprobs = examples.map(({ tokens_T }) => new Float32Array(tokens_T.length));
    for (const [i, { datum, position }] of batch.supervised.entries())
      logprobs[datum]![position] = Number(results["logprobs"]!.data[i]);
    return {
      logprobs,
      gradients: new Map(
        trainable.map((name) => [name, { data: results[gradientName(name)]!.data as Float32Array }]), // float32 by its graph
      ),
    };
  };
}

function sumOf(parts: readonly Computed[]): Map<string, { readonly data: Float32Array }> {
  return new Map(
    [...parts[0]!.gradients].map(([name, { data }]) => [
      name,
      {
        data: data.map((_, i) =>
          parts.reduce((sum, { gradients }) => sum + gradients.get(name)!.data[i]!, 0),
        ),
      },
    ]),
  );
}

/** Lengths 1 and the longest, equal ones, and, for the dynamic rope of DeepSeek, some beyond the model's 48 positions. */
const CASES: readonly [string, EngineOptions, readonly number[]][] = [
  ["llama", { model: readGoldenModel("llama").folder }, [5, 1, 9, 9, 3, 17]],
  ["llama with heads of width 6", { model: SFT_MODEL_FOLDER }, [5, 7, 7, 2]],
  ["mistral with its window", { model: readGoldenModel("mistral").folder }, [19, 2, 7, 11]],
  ["qwen3 with query norms", { model: readGoldenModel("qwen3").folder }, [8, 13, 1]],
  [
    "deepseek-coder with dynamic rope",
    { model: readGoldenModel("deepseek-coder-dynamic").folder },
    [6, 60, 25, 71, 60],
  ],
  [
    "a LoRA adapter on qwen2",
    {
      model: readGoldenModel(readGoldenAdapter("qwen2-all-linear").base).folder,
      adapter: readGoldenAdapter("qwen2-all-linear").folder,
    },
    [4, 10, 6, 1],
  ],
];

describe.each(runtimes.map((entry) => [entry.lowering, entry] as const))("%s", (lowering, entry) => {
  it.each(CASES)(
    "one micro-batch of %s is the sum of its sequences alone",
    async (_title, options, lengths) => {
      const compute = createComputer(options, entry);
      const vocabularySize = vocabularyOf(options);
      const datums = randomDatums(3, lengths, vocabularySize);
      const together = await compute(datums);
      const alone: Computed[] = [];
      for (const datum of datums) alone.push(await compute([datum]));
      for (const [i, { logprobs }] of alone.entries())
        expect(largestGap(together.logprobs[i]!, logprobs[0]!), `logprobs of sequence ${i}`).toBeLessThan(
          1e-5,
        );
      expect(largestRelativeGap(together.gradients, sumOf(alone))).toBeLessThan(1e-5);
    },
  );

  it.each(CASES)(
    "no token of %s sees another sequence, to the last bit",
    async (_title, options, lengths) => {
      const compute = createComputer(options, entry);
      const vocabularySize = vocabularyOf(options);
      const datums = randomDatums(4, lengths, vocabularySize);
      const others = randomDatums(5, lengths, vocabularySize);
      const before = await compute(datums);
      for (const changed of [0, 1, datums.length - 1]) {
        const after = await compute(datums.map((datum, i) => (i === changed ? others[i]! : datum)));
        for (const i of datums.keys()) {
          const gap = largestGap(after.logprobs[i]!, before.logprobs[i]!);
          if (i === changed) expect(gap, `sequence ${i} itself`).toBeGreaterThan(1e-3);
          else expect(gap, `sequence ${i} when ${changed} changes`).toBe(0);
        }
      }
    },
  );

  it("a token does not see later ones of its own sequence", async () => {
    const options = CASES[0]![1];
    const compute = createComputer(options, entry);
    const [datum] = randomDatums(6, [12], vocabularyOf(options));
    const tokens = datum!.modelInput.chunks[0]!.tokens;
    const before = await compute([datum!]);
    const later = {
      ...datum!,
      modelInput: { chunks: [{ type: "encoded_text" as const, tokens: [...tokens] }] },
    };
    later.modelInput.chunks[0]!.tokens[7] = (tokens[7]! + 1) % vocabularyOf(options);
    const after = await compute([later]);
    expect(largestGap(after.logprobs[0]!.subarray(0, 7), before.logprobs[0]!.subarray(0, 7))).toBe(0);
    expect(after.logprobs[0]!.subarray(7)).not.toEqual(before.logprobs[0]!.subarray(7));
  });

  // The native lowering has one graph for both.
  it.skipIf(lowering === "native")("the graph for equal lengths agrees with the one for any", async () => {
    for (const [, options] of CASES) {
      const compute = createComputer(options, entry);
      const datums = randomDatums(7, [11, 11, 11], vocabularyOf(options));
      const [rows, packed] = [await compute(datums, true), await compute(datums, false)];
      for (const [i, logprobs] of rows.logprobs.entries())
        expect(largestGap(logprobs, packed.logprobs[i]!)).toBeLessThan(1e-5);
      expect(largestRelativeGap(rows.gradients, packed.gradients)).toBeLessThan(1e-5);
    }
  });
});

describe.each(["native", "cpu"] as const)("TrainingEngine with %s operators", (runtime) => {
  const name: ModelName = "qwen2";
  const model = readGoldenModel(name).folder;
  const datums = randomDatums(8, [5, 16, 16, 3, 9, 1, 16], vocabularyOf({ model }));
  const open = (microBatchTokens: number): Promise<TrainingEngine> =>
    TrainingEngine.create({ model, runtime, microBatchTokens });

  it("gives the same gradients however the batch is split, and in any order of datums", async () => {
    const results = [];
    for (const [tokens, batch] of [
      [4096, datums],
      [16, datums],
      [1, datums],
      [24, datums.toReversed()],
    ] as const) {
      const engine = await open(tokens);
      const output = await engine.forwardBackward(batch, "cross_entropy");
      results.push({
        ...takeGradients(engine, mkdtempSync(join(folder, "split-"))),
        metrics: output.metrics,
      });
      await engine.close();
    }
    const whole = results[0]!;
    for (const { gradients, norm, metrics } of results.slice(1)) {
      expect(largestRelativeGap(gradients, whole.gradients)).toBeLessThan(1e-5);
      expect(Math.abs(norm - whole.norm) / whole.norm).toBeLessThan(1e-5);
      expect(metrics["loss:sum"]).toBeCloseTo(whole.metrics["loss:sum"]!, 4);
      expect(metrics["supervised_tokens:sum"]).toBe(whole.metrics["supervised_tokens:sum"]);
    }
  });

  it("accumulates over calls: two halves are the whole", async () => {
    const [split, whole] = [await open(4096), await open(4096)];
    await split.forwardBackward(datums.slice(0, 3), "cross_entropy");
    await split.forward(datums, "cross_entropy"); // touches no gradient
    await split.forwardBackward(datums.slice(3), "cross_entropy");
    await whole.forwardBackward(datums, "cross_entropy");
    const [a, b] = [split, whole].map((engine) => takeGradients(engine, mkdtempSync(join(folder, "sum-"))));
    expect(largestRelativeGap(a!.gradients, b!.gradients)).toBeLessThan(1e-5);
    await split.close();
    await whole.close();
  });

  it("forward and forwardBackward report the same logprobs where there is a weight, and 0 elsewhere if asked", async () => {
    const engine = await open(4096);
    const all = await engine.forward(datums, "cross_entropy");
    const supervised = await engine.forward(datums, "cross_entropy", { supervisedOnly: true });
    const trained = await engine.forwardBackward(datums, "cross_entropy");
    for (const [i, { lossFnInputs }] of datums.entries()) {
      const weights = lossFnInputs["weights"]!.data;
      const full = all.lossFnOutputs[i]!["logprobs"]!.data;
      expect(full.every((logprob) => logprob < 0)).toBe(true);
      const wanted = full.map((logprob, t) => (weights[t] === 0 ? 0 : logprob));
      for (const { lossFnOutputs } of [supervised, trained]) {
        const { logprobs, elementwise_loss } = lossFnOutputs[i]!;
        expect(largestGap(logprobs!.data, wanted)).toBeLessThan(1e-5);
        expect(
          largestGap(
            elementwise_loss!.data,
            wanted.map((logprob, t) => -weights[t]! * logprob),
          ),
        ).toBeLessThan(1e-4);
      }
    }
    const count = datums
      .flatMap(({ lossFnInputs }) => lossFnInputs["weights"]!.data)
      .filter((w) => w !== 0).length;
    expect(supervised.metrics["supervised_tokens:sum"]).toBe(count);
    expect(trained.metrics["supervised_tokens:sum"]).toBe(count);
    expect(supervised.metrics["loss:sum"]).toBeCloseTo(all.metrics["loss:sum"]!, 4);
    await engine.close();
  });

  it("a batch without a supervised token has loss 0, gradient 0 and reports no logprob", async () => {
    const engine = await open(4096);
    const silent = datums.map((datum) => ({
      ...datum,
      lossFnInputs: {
        ...datum.lossFnInputs,
        weights: { data: datum.lossFnInputs["weights"]!.data.map(() => 0), dtype: "float32" as const },
      },
    }));
    const { metrics, lossFnOutputs } = await engine.forwardBackward(silent, "cross_entropy");
    expect(metrics).toEqual({ "loss:sum": 0, "supervised_tokens:sum": 0 });
    expect(lossFnOutputs.flatMap(({ logprobs }) => logprobs!.data).every((value) => value === 0)).toBe(true);
    expect(takeGradients(engine, mkdtempSync(join(folder, "silent-"))).norm).toBe(0);
    await engine.close();
  });

  it.each(
    Object.values(LOSSES)
      .filter(({ inputs }) => inputs.includes("advantages"))
      .map(({ name }) => name as LossFnName),
  )("%s ignores tokens whose advantage and sampling logprob are 0", async (lossFn) => {
    const engine = await open(4096);
    const policyDatums = (target: number): Datum[] =>
      datums.map(({ modelInput, lossFnInputs }) => {
        const { data: weights } = lossFnInputs["weights"]!;
        const { data: targets } = lossFnInputs["target_tokens"]!;
        return {
          modelInput,
          lossFnInputs: {
            target_tokens: {
              data: targets.map((id, t) => (weights[t] === 0 ? target : id)),
              dtype: "int64",
            },
            advantages: { data: [...weights], dtype: "float32" },
            logprobs: { data: weights.map((weight) => (weight === 0 ? 0 : -2)), dtype: "float32" },
            ...(LOSSES[lossFn].inputs.includes("weights")
              ? { weights: { data: weights.map((weight) => Number(weight !== 0)), dtype: "float32" } }
              : {}),
          },
        };
      });
    const gradients = [];
    for (const target of [1, 2]) {
      const { metrics } = await engine.forwardBackward(policyDatums(target), lossFn);
      gradients.push({ metrics, ...takeGradients(engine, mkdtempSync(join(folder, "masked-"))) });
    }
    expect(gradients[0]!.norm).toBeGreaterThan(0.1);
    expect(gradients[1]!.metrics).toEqual(gradients[0]!.metrics);
    expect(largestRelativeGap(gradients[1]!.gradients, gradients[0]!.gradients)).toBe(0);
    await engine.close();
  });
});

function vocabularyOf(options: EngineOptions): number {
  const source = openWeightSource(options.model);
  source.close();
  return source.config.vocabularySize;
}
