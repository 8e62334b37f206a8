/** A beginning that datums share, computed once, gives the numbers and gradients of each datum computed whole. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { packBatch, readExample } from "../../src/engine/batch.js";
import { createTrainingClient, type EngineOptions, TrainingEngine } from "../../src/engine/index.js";
import { openWeightSource } from "../../src/engine/weight-source.js";
import { LOSSES } from "../../src/losses/index.js";
import { type Datum, modelInputFromTokens } from "../../src/protocol/index.js";
import {
  ADAPTER_NAMES,
  MODEL_NAMES,
  readGoldenAdapter,
  readGoldenModel,
  SFT_MODEL_FOLDER,
} from "../golden/read.js";
import {
  largestGap,
  largestRelativeGap,
  randomDatum,
  TINY_CONFIG,
  takeGradients,
  temporaryFolder,
} from "./tiny-models.js";

const folder = temporaryFolder();

/** A sequence's length or, where others branch off behind it, a prefix of that length and what follows it. */
type Tree = number | readonly [number, ...Tree[]];

/** One datum for every way from a root to a leaf; targets and weights are each datum's own, also within a prefix. */
function datumsOf(trees: readonly Tree[], vocabularySize: number, random: Random): Datum[] {
  const datums: Datum[] = [];
  const visit = (tree: Tree, before: readonly number[]): void => {
    const [length, ...branches] = typeof tree === "number" ? [tree] : tree;
    const tokens = [...before, ...Array.from({ length }, () => random.integer(vocabularySize))];
    for (const branch of branches) visit(branch, tokens);
    if (branches.length > 0) return;
    const { lossFnInputs } = randomDatum(random, tokens.length, vocabularySize);
    datums.push({ modelInput: modelInputFromTokens(tokens), lossFnInputs });
  };
  for (const tree of trees) visit(tree, []);
  return datums;
}

/** A group of three, a pair whose prefix is shared in part by a third, a repeated sequence, and strangers. */
const TREES: readonly Tree[] = [[17, 5, 1, 9], 4, [16, [3, 2, 6], 8], [20, 0, 0, 3], 2];

const vocabularyOf = (options: EngineOptions): number => {
  const source = openWeightSource(options.model);
  source.close();
  return source.config.vocabularySize;
};

async function compute(options: EngineOptions, datums: readonly Datum[]) {
  const engine = await TrainingEngine.create(options);
  const forward = await engine.forward(datums, "cross_entropy");
  const trained = await engine.forwardBackward(datums, "cross_entropy");
  const gradients = takeGradients(engine, mkdtempSync(join(folder, "gradients-")));
  await engine.close();
  const logprobs = [forward, trained].map(({ lossFnOutputs }) =>
    lossFnOutputs.map((outputs) => outputs["logprobs"]!.data),
  );
  return { logprobs, metrics: trained.metrics, ...gradients };
}

type Computed = Awaited<ReturnType<typeof compute>>;

function expectEqual(shared: Computed, whole: Computed): void {
  for (const [call, perDatum] of shared.logprobs.entries())
    for (const [i, data] of perDatum.entries())
      expect(largestGap(data, whole.logprobs[call]![i]!), `logprobs of datum ${i}`).toBeLessThan(1e-5);
  expect(largestRelativeGap(shared.gradients, whole.gradients)).toBeLessThan(1e-5);
  expect(Math.abs(shared.norm - whole.norm) / whole.norm).toBeLessThan(1e-5);
  expect(shared.metrics["supervised_tokens:sum"]).toBe(whole.metrics["supervised_tokens:sum"]);
}

const TINY: EngineOptions = { model: { config: TINY_CONFIG, seed: 9 } };
const CASES: readonly [string, EngineOptions][] = [
  ...MODEL_NAMES.map((name): [string, EngineOptions] => [name, { model: readGoldenModel(name).folder }]),
  ...ADAPTER_NAMES.map((name): [string, EngineOptions] => {
    const { base, folder: adapter } = readGoldenAdapter(name);
    return [`the adapter ${name}`, { model: readGoldenModel(base).folder, adapter }];
  }),
  ["a 4-bit base", { ...TINY, lora: { rank: 4, alpha: 8 }, quantise: {} }],
  ["heads of width 6", { model: SFT_MODEL_FOLDER }],
  ["checkpointing", { ...TINY, gradientCheckpointing: true }],
  ["a window", { model: { config: { ...TINY_CONFIG, model_type: "mistral", sliding_window: 21 }, seed: 2 } }],
];

describe.each(["native", "cpu"] as const)("sharing with %s operators", (runtime) => {
  it.each(CASES)("changes no logprob and no gradient of %s", async (_title, options) => {
    const datums = datumsOf(TREES, vocabularyOf(options), new Random(1));
    const shared = await compute({ ...options, runtime }, datums);
    const whole = await compute({ ...options, runtime, sharePrefixes: false }, datums);
    expectEqual(shared, whole);
  });

  it("changes nothing, however datums share and however they are split", async () => {
    const tree: fc.Memo<Tree> = fc.memo((depth) => {
      const leaf = fc.integer({ min: 0, max: 12 });
      if (depth <= 1) return leaf;
      const branches = fc.array(tree(depth - 1), { minLength: 1, maxLength: 3 });
      const prefix = fc.integer({ min: 1, max: 24 });
      return fc.oneof(
        prefix,
        fc.tuple(prefix, branches).map(([length, rest]): Tree => [length, ...rest]),
      );
    });
    const [shared, whole] = [
      await TrainingEngine.create({ ...TINY, runtime, microBatchTokens: 60 }),
      await TrainingEngine.create({ ...TINY, runtime, sharePrefixes: false }),
    ];
    const take = async (engine: TrainingEngine, datums: readonly Datum[]) => {
      const { lossFnOutputs } = await engine.forwardBackward(datums, "cross_entropy");
      return {
        logprobs: lossFnOutputs.flatMap(({ logprobs }) => logprobs!.data),
        ...takeGradients(engine, mkdtempSync(join(folder, "random-"))),
      };
    };
    await fc.assert(
      fc.asyncProperty(fc.array(tree(3), { minLength: 1, maxLength: 3 }), fc.nat(), async (trees, seed) => {
        const datums = datumsOf(trees, 40, new Random(seed));
        const [a, b] = [await take(shared, datums), await take(whole, datums)];
        expect(largestGap(a.logprobs, b.logprobs)).toBeLessThan(1e-5);
        // A datum or two may leave a gradient that is small beside its summands.
        if (b.norm > 0.1) expect(largestRelativeGap(a.gradients, b.gradients)).toBeLessThan(1e-5);
      }),
      { seed: 3, numRuns: 25 },
    );
    await shared.close();
    await whole.close();
  });

  it.each([1, 40, 70])("gives the same gradients in micro-batches of %i tokens", async (microBatchTokens) => {
    const datums = datumsOf(TREES, 40, new Random(4));
    expectEqual(
      await compute({ ...TINY, runtime, microBatchTokens }, datums),
      await compute({ ...TINY, runtime }, datums),
    );
  });
});

describe("options", () => {
  it("sharePrefixes reaches the worker", async () => {
    const datums = datumsOf(TREES, 40, new Random(6));
    const outputs = [];
    for (const sharePrefixes of [true, false]) {
      const client = await createTrainingClient({ ...TINY, sharePrefixes });
      outputs.push(await client.forward(datums, "cross_entropy"));
      await client.close();
    }
    const [shared, whole] = outputs.map(({ lossFnOutputs }) =>
      lossFnOutputs.flatMap(({ logprobs }) => logprobs!.data),
    );
    expect(largestGap(shared!, whole!)).toBeLessThan(1e-5);
    // Blocks of keys begin elsewhere, so the last bits differ: the option did something.
    expect(shared).not.toEqual(whole);
  });
});

describe("packBatch()", () => {
  const { config } = openWeightSource(readGoldenModel("llama").folder);
  const examplesOf = (trees: readonly Tree[]) =>
    datumsOf(trees, config.vocabularySize, new Random(5)).map((datum, i) =>
      readExample(datum, i, LOSSES.cross_entropy, config.vocabularySize),
    );

  it("computes what a group shares once, and gathers it for every datum", () => {
    const examples = examplesOf([[20, 3, 4], 5]);
    const { tokenCount, supervised, tensors, uniform } = packBatch(
      config,
      LOSSES.cross_entropy,
      examples,
      [0, 1, 2],
      { everyToken: true },
    );
    expect(tokenCount).toBe(20 + 3 + 4 + 5);
    expect(supervised.length).toBe(23 + 24 + 5);
    expect(uniform).toBe(false);
    const flat = [...(tensors["supervised"]!.data as BigInt64Array)].map(Number);
    const positions = [...(tensors["positions"]!.data as BigInt64Array)].map(Number);
    expect(flat.slice(0, 20)).toEqual(flat.slice(23, 43));
    for (const [i, { position }] of supervised.entries()) expect(positions[flat[i]!]).toBe(position);
    expect(
      packBatch(config, LOSSES.cross_entropy, examples, [0, 1, 2], { sharePrefixes: false }).tokenCount,
    ).toBe(52);
  });

  it("knows datums of one length as uniform only while they share nothing", () => {
    const examples = examplesOf([[20, 3, 3], 23]);
    const uniform = (datums: readonly number[]): boolean =>
      packBatch(config, LOSSES.cross_entropy, examples, datums).uniform;
    expect(uniform([0, 1])).toBe(false);
    expect(uniform([1, 2])).toBe(true);
  });
});
