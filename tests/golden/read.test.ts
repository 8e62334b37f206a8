/** The fixtures are complete and agree with themselves, whatever wrote them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  ADAPTER_NAMES,
  type GoldenBatch,
  type GoldenTensor,
  MODEL_NAMES,
  readGoldenAdamW,
  readGoldenAdapter,
  readGoldenLosses,
  readGoldenModel,
  readGoldenSftRows,
  readGoldenSftRun,
  readGoldenTensors,
  SFT_MODEL_FOLDER,
  SFT_NAMES,
  SFT_ROWS_FILE,
  summaryOf,
  type TensorSummary,
} from "./read.js";

/** Loss from logprobs, and logprobs from the stored logits, in float64; stored numbers have 9 digits. */
function expectConsistent(batches: readonly Omit<GoldenBatch, "gradients">[]): void {
  for (const { sequences, loss } of batches) {
    let total = 0;
    for (const { tokens, weights, logprobs, logits } of sequences) {
      expect(weights).toHaveLength(tokens.length - 1);
      expect(logprobs).toHaveLength(tokens.length - 1);
      weights.forEach((weight, i) => {
        total -= weight * logprobs[i]!;
      });
      logits.positions.forEach((position, j) => {
        const row = logits.values[j]!;
        const target = tokens[position + 1];
        if (target === undefined) return;
        const largest = Math.max(...row);
        const normaliser = largest + Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0));
        expect(row[target]! - normaliser).toBeCloseTo(logprobs[position]!, 6);
      });
    }
    expect(total).toBeCloseTo(loss, 6);
  }
}

function expectSummaries(
  gradients: Readonly<Record<string, TensorSummary>>,
  tensors: ReadonlyMap<string, GoldenTensor>,
): void {
  expect(Object.keys(gradients).sort()).toEqual([...tensors.keys()].sort());
  for (const [name, { shape, data }] of tensors) {
    const actual = summaryOf(shape, data);
    const expected = gradients[name]!;
    expect(actual.shape, name).toEqual(expected.shape);
    expect(Math.abs(actual.norm - expected.norm), name).toBeLessThan(1e-6 * expected.norm);
    expect(Math.abs(actual.projection - expected.projection), name).toBeLessThan(1e-6 * expected.norm);
    actual.values.forEach((value, i) => {
      expect(Math.abs(value - expected.values[i]!), name).toBeLessThan(1e-6 * expected.norm);
    });
  }
}

it("every folder has a name here", () => {
  expect(readdirSync(join(import.meta.dirname, "models")).sort()).toEqual([...MODEL_NAMES].sort());
  expect(readdirSync(join(import.meta.dirname, "lora")).sort()).toEqual([...ADAPTER_NAMES].sort());
});

describe.each(MODEL_NAMES)("model %s", (name) => {
  const golden = readGoldenModel(name);

  it("has a gradient per tensor of its file and consistent numbers", () => {
    expectConsistent(golden.batches);
    for (const variant of Object.values(golden.variants)) expectConsistent(variant);
    const weights = readGoldenTensors(join(golden.folder, "model.safetensors"));
    for (const { gradients } of golden.batches) {
      expect(Object.entries(gradients).map(([key, { shape }]) => [key, shape])).toEqual(
        Object.keys(gradients).map((key) => [key, weights.get(key)?.shape]),
      );
      expect(Object.keys(gradients).length).toBe(weights.size);
    }
    if (golden.fullGradients !== undefined)
      expectSummaries(golden.batches[0]!.gradients, golden.fullGradients);
  });
});

describe.each(ADAPTER_NAMES)("adapter %s", (name) => {
  it("has a gradient per tensor of its file and consistent numbers", () => {
    const golden = readGoldenAdapter(name);
    expectConsistent(golden.batches);
    const weights = readGoldenTensors(join(golden.folder, "adapter_model.safetensors"));
    expect(Object.keys(golden.batches[0]!.gradients).sort()).toEqual([...weights.keys()].sort());
    if (golden.fullGradients !== undefined)
      expectSummaries(golden.batches[0]!.gradients, golden.fullGradients);
  });
});

it("AdamW's norms are those of its gradients", () => {
  const { gradients, runs, steps } = readGoldenAdamW();
  expect(gradients).toHaveLength(steps);
  gradients.forEach((step, i) => {
    const norm = Math.hypot(...Object.values(step).flat());
    for (const { gradNorms } of Object.values(runs)) expect(norm).toBeCloseTo(gradNorms[i]!, 5);
  });
});

it("every loss has one gradient per token, and no loss is missing", () => {
  const { trainingLogprobs, cases } = readGoldenLosses();
  expect([...new Set(cases.map(({ lossFn }) => lossFn))]).toEqual([
    "cross_entropy",
    "importance_sampling",
    "ppo",
    "cispo",
    "dro",
  ]);
  for (const { gradient } of cases) expect(gradient).toHaveLength(trainingLogprobs.length);
});

describe.each(SFT_NAMES)("SFT run %s", (name) => {
  it("divides each step's loss by the completion tokens of its rows", () => {
    const run = readGoldenSftRun(name);
    const { rows, maxLength } = readGoldenSftRows();
    expect(rows).toHaveLength(readFileSync(SFT_ROWS_FILE, "utf8").trimEnd().split("\n").length);
    expect(Math.max(...rows.map(({ tokens }) => tokens.length))).toBe(maxLength);
    expect(run.losses).toHaveLength(run.options.steps);
    expect(
      run.rows.map((step) =>
        step.flat().reduce((sum, row) => sum + rows[row]!.tokens.length - rows[row]!.promptLength, 0),
      ),
    ).toEqual(run.supervisedTokens);
    const start = run.adapterFolder ?? SFT_MODEL_FOLDER;
    const file = run.adapterFolder === undefined ? "model.safetensors" : "adapter_model.safetensors";
    expect(Object.keys(run.finalParameters).sort()).toEqual(
      [...readGoldenTensors(join(start, file)).keys()].sort(),
    );
  });
});
