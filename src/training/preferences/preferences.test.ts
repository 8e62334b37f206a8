import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cpoLoss, dpoLoss } from "../../algorithms/index.js";
import { parseRecord } from "../../datasets/index.js";
import type { Datum, ForwardBackwardOutput, LossOptions, TrainingClient } from "../../protocol/index.js";
import type { Tokenizer } from "../../text/index.js";
import { parseConfig } from "../load-config.js";
import type { RunRecorder } from "../recorder.js";
import { PREFERENCE_METHODS } from "./methods.js";
import { loadPairData } from "./pair-data.js";
import { hashPairs, isTied, type PairRow, tokenizePair } from "./pair-rows.js";
import { CpoConfig, DpoConfig, OrpoConfig, SimpoConfig } from "./preference-config.js";
import { runPreferences } from "./preference-loop.js";
import { wholeMetrics } from "./preference-metrics.js";
import { withReference } from "./reference.js";

/** A token is a character's code; 0 ends a text. */
const tokenizer: Tokenizer = {
  vocabSize: 128,
  eosId: 0,
  hash: "characters",
  encode: (text) => [...text].map((letter) => letter.charCodeAt(0)),
  decode: (tokens) => String.fromCharCode(...tokens),
};

function tokenized(
  row: { prompt: string; chosen: string; rejected: string },
  limits: { maxLength: number; truncation: "keep_start" | "keep_end" | "refuse" },
) {
  const pair = parseRecord(row, { line: 1, at: "p:1" });
  if (pair.kind !== "preference") throw new Error("no pair");
  return tokenizePair(pair, { tokenizer, ...limits }, "p:1");
}

const textOf = (tokens: readonly number[]): string => tokenizer.decode(tokens).replaceAll("\0", "$");

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-pairs-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function write(rows: readonly object[]): string {
  const path = join(directory, "pairs.jsonl");
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

const load = (rows: readonly object[], more = "") =>
  loadPairData(
    DpoConfig.parse({
      model: "m",
      ...(more === "" ? {} : JSON.parse(more)),
      data: { train: write(rows), ...(more === "" ? {} : JSON.parse(more).data) },
    }),
    { tokenizer },
  );

describe("tokenizePair()", () => {
  const row = { prompt: "abcdef", chosen: "XY", rejected: "Z" };
  it.each([
    ["keep_start", 9, "abcdefXY$", "abcdefZ$", false],
    ["keep_start", 7, "abcdefX", "abcdefZ", true],
    ["keep_end", 7, "cdefXY$", "cdefZ$", true],
    ["keep_end", 3, "fXY", "fZ$", true],
  ] as const)("%s at %i tokens gives %s and %s", (truncation, maxLength, chosen, rejected, isTruncated) => {
    const result = tokenized(row, { maxLength, truncation });
    if (result.kind !== "row") throw new Error(result.reason);
    expect(textOf(result.row.chosen.tokens_T)).toBe(chosen);
    expect(textOf(result.row.rejected.tokens_T)).toBe(rejected);
    expect(result.isTruncated).toBe(isTruncated);
    const answer = result.row.chosen.tokens_T.filter((_, t) => result.row.chosen.lossMask_T[t] === 1);
    expect("XY$").toContain(textOf(answer));
  });

  it("drops pairs of which an answer has nothing left, and refuses long ones where told so", () => {
    expect(tokenized(row, { maxLength: 6, truncation: "keep_start" })).toMatchObject({
      kind: "dropped",
      reason: "prompt too long",
    });
    expect(tokenized({ ...row, rejected: "" }, { maxLength: 9, truncation: "keep_end" })).toMatchObject({
      kind: "dropped",
      reason: "empty answer",
    });
    expect(() => tokenized(row, { maxLength: 8, truncation: "refuse" })).toThrow(
      "Cannot use p:1: the pair has 9 tokens, expected at most maxLength 8",
    );
  });
});

describe("loadPairData()", () => {
  const good = (i: number) => ({ prompt: `q${i}`, chosen: "yes", rejected: "no" });

  it("counts ties and dropped pairs, warns of both, and keeps the ties", async () => {
    const rows = [...Array.from({ length: 40 }, (_, i) => good(i)), { ...good(40), rejected: "yes" }];
    const data = await load([...rows, { ...good(41), chosen: "" }]);
    expect(data.statistics).toMatchObject({
      pairs: 42,
      tied: 1,
      truncated: 0,
      dropped: { "empty answer": 1, "prompt too long": 0 },
    });
    expect(data.train.filter(isTied).map(({ line }) => line)).toEqual([41]);
    expect(data.warnings.join("\n")).toMatch(
      /1 of 42 pairs are left out: 1 with an answer without tokens \(.*:42\)/,
    );
    expect(data.warnings.join("\n")).toContain("1 of 41 pairs have the same answer twice");
  });

  it("refuses data of ties alone, of too many dropped pairs, and a single pair that should be split", async () => {
    await expect(load([{ ...good(1), rejected: "yes" }])).rejects.toThrow(
      "chosen and rejected are the same in all 1 pairs, expected pairs in which one answer is better",
    );
    await expect(load([good(1), { ...good(2), prompt: "x".repeat(2000) }])).rejects.toThrow(
      /1 of 2 pairs are left out: 1 with a prompt that leaves no room for its answers within maxLength 1024 .*expected at most a share of 0.05/,
    );
    expect((await load([good(1)])).train).toHaveLength(1);
    await expect(load([good(1)], '{"data":{"validationFraction":0.1}}')).rejects.toThrow(
      "the 1 rows have 1 different prompts, expected at least 2",
    );
  });

  it("holds whole prompts out", async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ ...good(i % 10), chosen: `yes ${i}` }));
    const { train, validation } = await load(rows, '{"data":{"validationFraction":0.2}}');
    expect(validation).toHaveLength(8);
    const trained = new Set(train.map(({ promptKey }) => promptKey));
    expect(validation.some(({ promptKey }) => trained.has(promptKey))).toBe(false);
  });
});

describe("configurations", () => {
  const minimal = "model: m\ndata: { train: t }\n";
  it("have TRL's defaults", () => {
    const shared = { maxLength: 1024, epochs: 3, batchSize: 8, gradClipNorm: 1, learningRate: 1e-6 };
    expect(DpoConfig.parse({ model: "m", data: { train: "t" } })).toMatchObject({
      ...shared,
      ...{ beta: 0.1, lossType: "sigmoid", labelSmoothing: 0, truncation: "keep_start" },
    });
    expect(OrpoConfig.parse({ model: "m", data: { train: "t" } })).toMatchObject({ ...shared, beta: 0.1 });
    expect(CpoConfig.parse({ model: "m", data: { train: "t" } })).toMatchObject({
      ...shared,
      ...{ beta: 0.1, cpoAlpha: 1, simpoGamma: 0.5, lossType: "sigmoid" },
    });
    expect(DpoConfig.parse({ model: "m", data: { train: "t" }, lora: {} }).learningRate).toBeCloseTo(
      1e-5,
      12,
    );
  });

  it.each([
    ["loss_type: ipo", "lossType"],
    ["max_length: 9", "maxLength"],
    ["precompute_ref_log_probs: true", "precomputeRefLogProbs"],
    ["label_smoothing: 0.1", "labelSmoothing"],
    ["ref_model: x", "referenceModel"],
    ["betta: 1", "beta"],
  ])("refuse %s and suggest %s", (line, meant) => {
    expect(() => parseConfig(minimal + line, "c.yaml", DpoConfig)).toThrow(`Did you mean "${meant}"?`);
  });

  it("refuse weights without types, a type twice, and what another method has", () => {
    expect(() => parseConfig(`${minimal}lossWeights: [1, 2]`, "c.yaml", DpoConfig)).toThrow(
      "lossWeights has 2 numbers for 1 loss types",
    );
    expect(() => parseConfig(`${minimal}lossType: [ipo, ipo]`, "c.yaml", DpoConfig)).toThrow(
      "names a type twice",
    );
    expect(() => parseConfig(`${minimal}cpo_alpha: 1`, "c.yaml", OrpoConfig)).toThrow(
      'unknown key "cpo_alpha"',
    );
  });

  it("become the losses they name", () => {
    const config = SimpoConfig.parse({ model: "m", data: { train: "t" } });
    expect(PREFERENCE_METHODS.simpo.loss(config)).toEqual(
      cpoLoss({ lossType: "simpo", beta: 2, simpoGamma: 1, cpoAlpha: 0 }),
    );
    const mixed = DpoConfig.parse({
      model: "m",
      data: { train: "t" },
      lossType: ["ipo", "sft"],
      lossWeights: [1, 2],
    });
    expect(PREFERENCE_METHODS.dpo.loss(mixed)).toEqual(
      dpoLoss({ lossType: ["ipo", "sft"], lossWeights: [1, 2] }),
    );
  });
});

it("wholeMetrics(): means weigh pairs, sums add up, and what is no metric of ours is left out", () => {
  const part = (margin: number, loss: number, count: number) => ({
    metrics: { "rewards/margins:sequence_mean": margin, "loss:sum": loss, "supervised_tokens:sum": 9 },
    count,
  });
  expect(wholeMetrics([part(1, 0.5, 3), part(5, 0.25, 1)])).toEqual({ "rewards/margins": 2, loss: 0.75 });
});

const answer = (...tokens: number[]) => ({
  tokens_T: [1, ...tokens],
  lossMask_T: [0, ...tokens.map(() => 1)],
});
const pairRow = (i: number): PairRow => ({
  ...{
    chosen: answer(2, i),
    rejected: answer(3),
    margin: 0,
    category: undefined,
    line: i,
    promptKey: `${i}`,
  },
});

/** Every token has the logprob `logprob`; keeps the order of calls and their sizes. */
class FlatClient implements TrainingClient {
  readonly calls: string[] = [];
  logprob = -1;
  async forward(
    data: readonly Datum[],
    lossFn: string,
    options: LossOptions = {},
  ): Promise<ForwardBackwardOutput> {
    const { supervisedOnly, withoutAdapter } = options;
    const how = Object.entries({ supervisedOnly, withoutAdapter }).filter(([, value]) => value === true);
    this.calls.push(["forward", data.length, lossFn, ...how.map(([name]) => name)].join(" "));
    return this.#output(data);
  }
  async forwardBackward(data: readonly Datum[], lossFn: string): Promise<ForwardBackwardOutput> {
    this.calls.push(`forwardBackward ${data.length} ${lossFn}`);
    return this.#output(data);
  }
  async optimStep(): Promise<{ metrics: Record<string, number> }> {
    this.calls.push("optimStep");
    return { metrics: {} };
  }
  async saveState(): Promise<void> {
    this.calls.push("saveState");
  }
  loadState = async (): Promise<void> => undefined;
  saveWeights = async (): Promise<void> => undefined;
  loadWeights = async (): Promise<void> => undefined;
  close = async (): Promise<void> => undefined;
  #output(data: readonly Datum[]): ForwardBackwardOutput {
    const lossFnOutputs = data.map(({ lossFnInputs }) => ({
      logprobs: {
        data: lossFnInputs["target_tokens"]!.data.map(() => this.logprob),
        dtype: "float32" as const,
      },
    }));
    return { lossFnOutputs, metrics: { "loss:sum": 0.5, "rewards/margins:sequence_mean": 0 } };
  }
}

const rows = Array.from({ length: 5 }, (_, i) => pairRow(i + 4));

describe("withReference()", () => {
  const options = (client: FlatClient, weights = "w") => ({
    source: async () => ({ client, withoutAdapter: true }),
    identity: { weights },
    directory: join(directory, "reference"),
    batchSize: 2,
  });
  const data = { train: rows.slice(0, 3), validation: rows.slice(3) };

  it("adds up each answer's logprobs once, and reads them from disk after that", async () => {
    const client = new FlatClient();
    const first = await withReference(data, options(client));
    expect(client.calls).toEqual(
      [4, 4, 2].map((n) => `forward ${n} cross_entropy supervisedOnly withoutAdapter`),
    );
    expect(
      first.train.map(({ chosen, rejected }) => [chosen.referenceLogprob, rejected.referenceLogprob]),
    ).toEqual(Array.from({ length: 3 }, () => [-2, -1]));
    expect(first).toMatchObject({ isCached: false });
    const again = await withReference(data, options(client));
    expect(client.calls).toHaveLength(3);
    expect(again).toEqual({ ...first, isCached: true });
  });

  it("computes anew for other weights, other tokens or masks, and a damaged file", async () => {
    const client = new FlatClient();
    const { hash } = await withReference(data, options(client));
    expect((await withReference(data, options(client, "other"))).isCached).toBe(false);
    expect((await withReference({ ...data, train: rows.slice(1, 3) }, options(client))).isCached).toBe(false);
    const masked = { ...rows[0]!, chosen: { ...rows[0]!.chosen, lossMask_T: [0, 0, 1] } };
    expect(hashPairs([masked])).not.toBe(hashPairs([rows[0]!]));
    for (const name of readdirSync(join(directory, "reference"))) {
      const path = join(directory, "reference", name);
      writeFileSync(path, readFileSync(path, "utf8").replace("-2", "-3"));
    }
    const mended = await withReference(data, options(client));
    expect(mended).toMatchObject({ isCached: false, hash });
    expect((await withReference(data, options(client))).isCached).toBe(true);
  });

  it("refuses numbers that are not finite, and leaves no file", async () => {
    const client = new FlatClient();
    client.logprob = Number.NaN;
    await expect(withReference(data, options(client))).rejects.toThrow(
      "that of the chosen answer of line 4 is NaN, expected a finite number",
    );
    expect(existsSync(join(directory, "reference"))).toBe(false);
  });
});

describe("runPreferences()", () => {
  const config = DpoConfig.parse({
    ...{ model: "m", data: { train: "t" }, batchSize: 2, epochs: 1, evalEvery: 2, saveEvery: 0, seed: 1 },
  });
  const events: unknown[] = [];
  const recorder: RunRecorder = {
    id: "dpo-1",
    logMetrics: () => undefined,
    logEvent: (kind, detail) => void events.push([kind, detail]),
    saveCheckpoint: async (_, write) => {
      await write(directory);
      return { path: directory };
    },
  };
  const start = (client: FlatClient, reference: number) =>
    runPreferences({
      ...{ client, config, recorder, loss: dpoLoss(), method: "dpo", trainPath: "t" },
      train: rows.slice(0, 3).map((row) => ({
        ...row,
        chosen: { ...row.chosen, referenceLogprob: 2 * reference },
        rejected: { ...row.rejected, referenceLogprob: reference },
      })),
      validation: rows.slice(3).map((row) => ({
        ...row,
        chosen: { ...row.chosen, referenceLogprob: -2 },
        rejected: { ...row.rejected, referenceLogprob: -1 },
      })),
      startsAtReference: true,
      referenceHash: "r",
      clock: () => 0,
    });

  it("validates, gives all pairs of a step at once, updates, validates and saves, in this order", async () => {
    const client = new FlatClient();
    await start(client, -1);
    expect(client.calls).toEqual([
      "forward 4 dpo supervisedOnly",
      ...["forwardBackward 4 dpo", "optimStep"],
      ...["forwardBackward 2 dpo", "optimStep"],
      ...["forward 4 dpo supervisedOnly", "saveState"],
    ]);
    expect(events).toContainEqual(["starts_at_reference", { measured: "0", limit: 1e-3 }]);
  });

  it("refuses to begin where the policy is not its reference, before any update", async () => {
    const client = new FlatClient();
    await expect(start(client, -1.01)).rejects.toThrow(
      "before the first update the policy's logprobs are 1.00e-2 nats per token away from the reference's",
    );
    expect(client.calls).not.toContain("optimStep");
  });
});
