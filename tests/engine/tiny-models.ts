/** Small models, batches and folders that the engine's tests share. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { Random } from "../../src/base/index.js";
import { TrainingEngine } from "../../src/engine/index.js";
import { AdamParams, type Datum, modelInputFromTokens } from "../../src/protocol/index.js";
import { type GoldenTensor, readGoldenTensors } from "../golden/read.js";

/** Wide enough for blocks of 32, with weights large enough that every part of the model matters. */
export const TINY_CONFIG = {
  model_type: "llama",
  vocab_size: 40,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
  initializer_range: 0.3,
};

/** A directory that is gone when the test file ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "hone-engine-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes a model folder with random weights. */
export async function writeTinyModel(
  folder: string,
  changes: Readonly<Record<string, unknown>> = {},
  seed = 1,
): Promise<string> {
  const engine = await TrainingEngine.create({ model: { config: { ...TINY_CONFIG, ...changes }, seed } });
  engine.saveWeights(folder);
  await engine.close();
  return folder;
}

/** Random tokens and weights; about a third of the weights are 0, some are negative. */
export function randomDatum(random: Random, length: number, vocabularySize: number): Datum {
  const ids = (): number[] => Array.from({ length }, () => random.integer(vocabularySize));
  return {
    modelInput: modelInputFromTokens(ids()),
    lossFnInputs: {
      target_tokens: { data: ids(), dtype: "int64" },
      weights: {
        data: Array.from({ length }, () => (random.uniform() < 0.3 ? 0 : random.normal())),
        dtype: "float32",
      },
    },
  };
}

export function randomDatums(seed: number, lengths: readonly number[], vocabularySize = 40): Datum[] {
  const random = new Random(seed);
  return lengths.map((length) => randomDatum(random, length, vocabularySize));
}

export const ADAM = AdamParams.parse({ learningRate: 0.01 });

/**
 * The gradients that wait for `optimStep`, by parameter, without a change of weights: with beta1 = 0 AdamW's first
 * moment is the gradient itself.
 */
export function takeGradients(
  engine: TrainingEngine,
  folder: string,
): { readonly gradients: ReadonlyMap<string, GoldenTensor>; readonly norm: number } {
  const { metrics } = engine.optimStep(AdamParams.parse({ learningRate: 0, beta1: 0 }));
  engine.saveState(folder);
  const moments = [...readGoldenTensors(join(folder, "optimizer.safetensors"))];
  const gradients = new Map(
    moments
      .filter(([name]) => name.startsWith("first_moment."))
      .map(([name, tensor]) => [name.replace("first_moment.", ""), tensor]),
  );
  return { gradients, norm: metrics["grad_norm:mean"]! };
}

/** Largest distance between two sets of tensors, each relative to its tensor's norm. */
export function largestRelativeGap(
  actual: ReadonlyMap<string, { readonly data: Float32Array }>,
  expected: ReadonlyMap<string, { readonly data: Float32Array }>,
): number {
  const gaps = [...expected].map(([name, { data }]) => {
    const other = actual.get(name)!.data;
    const norm = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0));
    return largestGap(other, data) / Math.max(norm, 1e-6);
  });
  return actual.size === expected.size ? Math.max(...gaps) : Number.POSITIVE_INFINITY;
}

/** Largest absolute difference; infinite for unequal lengths and for NaN. */
export function largestGap(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let gap = 0;
  for (let i = 0; i < actual.length; i++) {
    const distance = Math.abs(actual[i]! - expected[i]!);
    if (!(distance <= gap)) gap = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
  }
  return gap;
}

/** Reads, changes and writes back a JSON file. */
export function editJson(
  path: string,
  change: (json: Record<string, unknown>) => Record<string, unknown>,
): void {
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")))));
}
