/** A 4-bit base is the float base whose weights were rounded to 4 bits: same logprobs, same adapter gradients. */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Random, UserError } from "../../src/base/index.js";
import { packBatch, readExample } from "../../src/engine/batch.js";
import { Executable } from "../../src/engine/executable.js";
import { type EngineOptions, estimateMemory, TrainingEngine } from "../../src/engine/index.js";
import { resolveSpec } from "../../src/engine/spec.js";
import { compileTraining } from "../../src/engine/training-graph.js";
import { openWeightSource } from "../../src/engine/weight-source.js";
import { loadWeights } from "../../src/engine/weights.js";
import { LOSSES } from "../../src/losses/index.js";
import { ggufNameOf, parametersOf, parseModelConfig } from "../../src/nn/index.js";
import {
  dequantise,
  type GgufValue,
  openGguf,
  quantise,
  sizeOf,
  writeGguf,
  writeSafetensors,
} from "../../src/tensor/index.js";
import { readGoldenTensors } from "../golden/read.js";
import { createRuntimes } from "../graph/run-model.js";
import {
  ADAM,
  largestGap,
  largestRelativeGap,
  randomDatums,
  TINY_CONFIG,
  takeGradients,
  temporaryFolder,
  writeTinyModel,
} from "./tiny-models.js";

const folder = temporaryFolder();
const runtimes = await createRuntimes();
const WIDE = { hidden_size: 128, intermediate_size: 128, num_attention_heads: 4, attention_bias: true };
const model = await writeTinyModel(join(folder, "model"), { ...WIDE, initializer_range: 0.15 });
const LORA = { rank: 4, alpha: 8 };
const datums = randomDatums(1, [7, 12, 3]);

/** An adapter whose B is not zero, so that both matrices have gradients. */
async function trainedAdapter(): Promise<string> {
  const engine = await TrainingEngine.create({ model, lora: LORA });
  for (let step = 0; step < 3; step++) {
    await engine.forwardBackward(datums, "cross_entropy");
    engine.optimStep({ ...ADAM, learningRate: 0.05 });
  }
  const path = join(folder, "adapter");
  engine.saveWeights(path);
  await engine.close();
  return path;
}
const adapter = await trainedAdapter();

/** The folder of `model` with every projection rounded to 4 bits and back. */
function roundedModel(block: 32 | 128, symmetric: boolean): string {
  const rounded = mkdtempSync(join(folder, "rounded-"));
  const tensors = [...readGoldenTensors(join(model, "model.safetensors"))].map(([name, { shape, data }]) => {
    const [rows, columns] = shape;
    const isProjection = name.endsWith("_proj.weight");
    const values = isProjection
      ? dequantise(quantise(data, { rows: rows!, columns: columns!, block, zeroPoint: !symmetric }))
      : data;
    return { name, shape, dtype: "F32" as const, read: () => values };
  });
  writeSafetensors(join(rounded, "model.safetensors"), tensors);
  writeFileSync(join(rounded, "config.json"), readFileSync(join(model, "config.json")));
  return rounded;
}

/** Logprobs and adapter gradients of one micro-batch, on one lowering. */
async function compute(options: EngineOptions, { lowering, runtime }: (typeof runtimes)[number]) {
  const source = openWeightSource(options.model);
  const { spec, adapter: start } = resolveSpec(options, source);
  const weights = loadWeights(spec, source, { seed: 0, adapter: start?.tensors ?? null });
  source.close();
  const loss = LOSSES.cross_entropy;
  const examples = datums.map((datum, i) => readExample(datum, i, loss, spec.config.vocabularySize));
  const indices = examples.map((_, i) => i);
  const batch = packBatch(spec.config, loss, examples, indices, { everyToken: true });
  const trainable = weights.trainable.map(({ name }) => name);
  const graph = { lowering, loss, lossConfig: {}, uniform: false, trainable, gradientCheckpointing: false };
  const executable = await Executable.create(runtime, compileTraining(spec, graph));
  const results = await executable.run({ ...weights.tensors, ...batch.tensors });
  executable.release();
  const of = (name: string): { readonly data: Float32Array } => ({
    data: results[name]!.data as Float32Array, // the graph's outputs are float32
  });
  return {
    logprobs: of("logprobs").data,
    gradients: new Map(trainable.map((name) => [name, of(`grad:${name}`)])),
    packed: Object.keys(weights.tensors).filter((name) => name.endsWith(".packed")).length,
  };
}

describe.each([
  [32, true],
  [32, false],
  [128, true],
  [128, false],
] as const)("block %i, symmetric %s", (block, symmetric) => {
  const rounded = roundedModel(block, symmetric);
  it.each(runtimes.map((entry) => [entry.lowering, entry] as const))(
    "is the rounded float model on %s",
    async (_lowering, entry) => {
      const actual = await compute({ model, adapter, quantise: { block, symmetric } }, entry);
      const expected = await compute({ model: rounded, adapter }, entry);
      const unrounded = await compute({ model, adapter }, entry);
      expect([actual.packed, expected.packed]).toEqual([14, 0]);
      expect(largestGap(actual.logprobs, expected.logprobs)).toBeLessThan(1e-5);
      expect(largestRelativeGap(actual.gradients, expected.gradients)).toBeLessThan(1e-5);
      // Rounding itself is far larger than the tolerance: the comparison would see a wrong block or zero point.
      expect(largestGap(unrounded.logprobs, expected.logprobs)).toBeGreaterThan(1e-2);
    },
  );
});

it.each(["native", "cpu"] as const)(
  "trains on a 4-bit base with %s operators: the loss falls",
  async (runtime) => {
    const engine = await TrainingEngine.create({ model, lora: LORA, quantise: {}, runtime });
    const losses: number[] = [];
    const positive = datums.map((datum) => ({
      ...datum,
      lossFnInputs: { target_tokens: datum.lossFnInputs["target_tokens"]! },
    }));
    for (let step = 0; step < 12; step++) {
      losses.push((await engine.forwardBackward(positive, "cross_entropy")).metrics["loss:sum"]!);
      engine.optimStep({ ...ADAM, learningRate: 0.05 });
    }
    expect(losses.at(-1)!).toBeLessThan(0.6 * losses[0]!);
    await engine.close();
  },
);

describe("GGUF", () => {
  const config = { ...TINY_CONFIG, model_type: "qwen2", head_dim: undefined };
  const path = join(folder, "model.gguf");
  writeQ4Gguf(path);

  it("Q4_0 weights are taken as they are, not rounded once more", async () => {
    // Every nibble 0 becomes 1, so that the largest weight of a block is no longer at −8: rounding again would move it.
    const file = openGguf(path);
    const bytes = readFileSync(path);
    let changed = 0;
    for (const { type, offset, bytes: size } of file.tensors.values()) {
      if (type !== "Q4_0") continue;
      for (let at = offset; at < offset + size; at += 18) {
        for (let i = at + 2; i < at + 18; i++) {
          const byte = bytes[i]!;
          const moved = ((byte & 15) === 0 ? byte | 1 : byte) | (byte >> 4 === 0 ? 16 : 0);
          changed += Number(moved !== byte);
          bytes[i] = moved;
        }
      }
    }
    file.close();
    expect(changed).toBeGreaterThan(500);
    const moved = join(folder, "moved.gguf");
    writeFileSync(moved, bytes);
    const gguf = openWeightSource(moved);
    for (const parameter of parametersOf(gguf.config).filter(({ role }) => role === "projection")) {
      const exact = new Float32Array(sizeOf(parameter.shape));
      gguf.fill(parameter, exact);
      const taken = gguf.quantise(parameter, { block: 32, zeroPoints: false });
      expect(largestGap(dequantise(taken), exact), parameter.name).toBe(0);
      const again = quantise(exact, { rows: taken.rows, columns: taken.columns });
      expect(largestGap(dequantise(again), exact), `${parameter.name} again`).toBeGreaterThan(1e-4);
    }
    gguf.close();
    const [packed, float] = [
      await TrainingEngine.create({ model: moved, lora: LORA, quantise: {} }),
      await TrainingEngine.create({ model: moved, lora: LORA }),
    ];
    const [a, b] = [await packed.nextLogits([1, 5, 3]), await float.nextLogits([1, 5, 3])];
    expect(largestGap(a, b)).toBeLessThan(1e-5);
    for (const engine of [packed, float]) await engine.forwardBackward(datums, "cross_entropy");
    const [ga, gb] = [packed, float].map((engine) =>
      takeGradients(engine, mkdtempSync(join(folder, "gguf-"))),
    );
    expect(largestRelativeGap(ga!.gradients, gb!.gradients)).toBeLessThan(1e-5);
    await packed.close();
    await float.close();
  });

  function writeQ4Gguf(target: string): void {
    const random = new Random(2);
    const tensors = parametersOf(parseModelConfig(config, "test")).map(({ name, shape, role }) => {
      const data = Float32Array.from({ length: sizeOf(shape) }, () => 0.3 * random.normal());
      const type = role === "projection" ? ("Q4_0" as const) : ("F32" as const);
      return { name: ggufNameOf(name), shape, type, read: () => data };
    });
    const u32 = (value: number): GgufValue => ({ type: "uint32", value });
    writeGguf(target, tensors, {
      "general.architecture": { type: "string", value: "qwen2" },
      "qwen2.embedding_length": u32(config.hidden_size),
      "qwen2.feed_forward_length": u32(config.intermediate_size),
      "qwen2.block_count": u32(config.num_hidden_layers),
      "qwen2.attention.head_count": u32(config.num_attention_heads),
      "qwen2.attention.head_count_kv": u32(config.num_key_value_heads),
      "qwen2.context_length": u32(config.max_position_embeddings),
      "qwen2.attention.layer_norm_rms_epsilon": { type: "float32", value: 1e-5 },
      "qwen2.rope.freq_base": { type: "float32", value: 10000 },
    });
  }
});

describe("refusals", () => {
  it.each<[string, Omit<EngineOptions, "model">, string]>([
    [
      "quantise without an adapter",
      { quantise: {} },
      "Cannot create engine with quantise but neither lora nor adapter: 4-bit weights are frozen, so nothing would be trained. Add lora",
    ],
    [
      "lora with an adapter folder",
      { lora: LORA, adapter },
      "Cannot create engine with both lora and adapter: an adapter folder brings its own rank, alpha and targets. Leave one out",
    ],
    [
      "rank 0",
      { lora: { rank: 0, alpha: 1 } },
      "Cannot create adapter of rank 0: expected a positive integer",
    ],
    [
      "alpha NaN",
      { lora: { rank: 1, alpha: Number.NaN } },
      "Cannot create adapter with alpha NaN: expected a positive number",
    ],
    [
      "alpha without end",
      { lora: { rank: 1, alpha: Number.POSITIVE_INFINITY } },
      "Cannot create adapter with alpha Infinity: expected a positive number",
    ],
    ["no threads", { threads: 0 }, "Cannot create engine with threads 0: expected a positive integer"],
    [
      "half a token",
      { microBatchTokens: 0.5 },
      "Cannot create engine with microBatchTokens 0.5: expected a positive integer",
    ],
    [
      "an unknown target",
      { lora: { ...LORA, targets: ["q_proj", "qproj"] } },
      'Cannot place adapters of the lora option: target module "qproj" is unknown, expected "all-linear" or some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj',
    ],
    [
      "no target",
      { lora: { ...LORA, targets: [] } },
      'Cannot place adapters of the lora option: target module list is empty, expected "all-linear" or some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj',
    ],
  ])("%s", async (_title, options, message) => {
    const attempt = TrainingEngine.create({ model, ...options });
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(new UserError(message));
  });

  it("a width that is no multiple of the block, before weights are read", async () => {
    const narrow = await writeTinyModel(join(folder, "narrow"));
    const message =
      "Cannot quantise self_attn.q_proj: its width 32 is no multiple of block 128. Choose block 32, or a model with wider layers";
    const options = { model: narrow, lora: LORA, quantise: { block: 128 } } as const;
    await expect(TrainingEngine.create(options)).rejects.toThrow(new UserError(message));
    expect(() => estimateMemory(options, { tokens: 8, supervised: 8, longest: 8 })).toThrow(
      new UserError(message),
    );
  });
});
