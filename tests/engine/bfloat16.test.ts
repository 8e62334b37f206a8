/** Frozen weights stored as bf16 stay bf16 with our own kernels, and give the numbers of the same weights in float32. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { packBatch, readExample } from "../../src/engine/batch.js";
import { Executable } from "../../src/engine/executable.js";
import type { EngineOptions } from "../../src/engine/options.js";
import { createRuntime } from "../../src/engine/session/index.js";
import { resolveSpec } from "../../src/engine/spec.js";
import { compileLogits, compileTraining, gradientName } from "../../src/engine/training-graph.js";
import { openWeightSource } from "../../src/engine/weight-source.js";
import { loadWeights } from "../../src/engine/weights.js";
import type { Lowering } from "../../src/graph/index.js";
import { LOSSES } from "../../src/losses/index.js";
import { nextTokenDatum } from "../../src/protocol/index.js";
import { openSafetensors, sizeOf, writeSafetensors } from "../../src/tensor/index.js";
import { type ModelName, readGoldenModel } from "../golden/read.js";

const runtime = await createRuntime();
const directory = mkdtempSync(join(tmpdir(), "hone-bf16-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** A golden model rounded to bf16, stored once as bf16 and once as float32. */
function rounded(name: ModelName, dtype: "BF16" | "F32"): string {
  const { folder } = readGoldenModel(name);
  const target = mkdtempSync(join(directory, `${name}-${dtype}-`));
  const file = openSafetensors(folder);
  const tensors = [...file.tensors].map(([key, { shape }]) => {
    const values = new Float32Array(sizeOf(shape));
    file.readInto(key, values);
    const bits = new Uint32Array(values.buffer);
    for (let i = 0; i < bits.length; i++) bits[i]! &= 0xffff0000;
    return { name: key, dtype, shape, read: () => values };
  });
  writeSafetensors(join(target, "model.safetensors"), tensors);
  file.close();
  writeFileSync(join(target, "config.json"), readFileSync(join(folder, "config.json")));
  return target;
}

async function train(options: EngineOptions, lowering: Lowering): Promise<Record<string, Float32Array>> {
  const source = openWeightSource(options.model);
  const { spec } = resolveSpec(options, source, lowering);
  const weights = loadWeights(spec, source, { seed: 1, adapter: null });
  source.close();
  // Fresh B matrices are zero, and would hide every gradient of A.
  for (const { name } of weights.trainable)
    weights.slot(name).parameter.forEach((_, i, all) => void (all[i] = Math.sin(i + 1) / 8));
  expect(Object.values(weights.tensors).some(({ dtype }) => dtype === "uint16")).toBe(lowering === "native");
  const loss = LOSSES.cross_entropy;
  const tokens = [
    [1, 5, 9, 33, 2, 60, 7],
    [4, 4, 8, 12, 51],
  ];
  const examples = tokens.map((row, i) =>
    readExample(
      nextTokenDatum(
        row,
        row.map((_, j) => j % 3),
      ),
      i,
      loss,
      spec.config.vocabularySize,
    ),
  );
  const inputs = { ...weights.tensors, ...packBatch(spec.config, loss, examples, [0, 1]).tensors };
  const trainable = weights.trainable.map(({ name }) => name);
  const model = compileTraining(spec, {
    lowering,
    loss,
    lossConfig: {},
    uniform: false,
    trainable,
    gradientCheckpointing: false,
  });
  const results: Record<string, Float32Array> = {};
  for (const compiled of [model, compileLogits(spec, { lowering, uniform: false })]) {
    const executable = await Executable.create(runtime, compiled);
    for (const [name, { data }] of Object.entries(await executable.run(inputs)))
      results[name] = data as Float32Array;
    executable.release();
  }
  expect(Object.keys(results)).toEqual(expect.arrayContaining(trainable.map(gradientName)));
  return results;
}

const title = runtime.lowering === "native" ? "bf16 weights" : `bf16 weights (skipped: ${runtime.reason})`;
describe.skipIf(runtime.lowering !== "native")(title, () => {
  it.each(["llama", "llama-tied", "qwen2", "qwen3"] as const)(
    "of %s give the numbers of float32",
    async (name) => {
      const lora = { rank: 4, alpha: 8 };
      const expected = await train({ model: rounded(name, "F32"), lora }, "cpu");
      const actual = await train({ model: rounded(name, "BF16"), lora }, "native");
      for (const [output, values] of Object.entries(expected)) {
        const size = values.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-3);
        const gap = values.reduce((a, value, i) => Math.max(a, Math.abs(value - actual[output]![i]!)), 0);
        expect(gap / size, output).toBeLessThan(1e-5);
      }
    },
  );

  it("with an infinity among them are refused by name", () => {
    const folder = rounded("llama", "BF16");
    const file = openSafetensors(folder);
    const { offset } = file.tensors.get("lm_head.weight")!;
    file.close();
    const path = join(folder, "model.safetensors");
    const bytes = readFileSync(path);
    bytes.writeUInt16LE(0x7f80, offset + 6);
    writeFileSync(path, bytes);
    const source = openWeightSource(folder);
    const { spec } = resolveSpec({ model: folder, lora: { rank: 2, alpha: 2 } }, source, "native");
    expect(() => loadWeights(spec, source, { seed: 0, adapter: null })).toThrow(
      `Cannot read tensor "lm_head.weight" of "${folder}": element 3 is not finite, expected only finite weights`,
    );
    source.close();
  });
});
