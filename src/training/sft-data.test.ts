import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Tokenizer } from "../text/index.js";
import { parseConfig } from "./load-config.js";
import { SftConfig } from "./sft-config.js";
import { loadSftData, previewSftData } from "./sft-data.js";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-sft-data-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const EOS = 0;
const tokenizer: Tokenizer = {
  vocabSize: 1 << 16,
  eosId: EOS,
  hash: "characters",
  encode: (text) => [...text].map((character) => character.codePointAt(0)!),
  decode: (tokens, { skipSpecialTokens = false } = {}) =>
    tokens.map((id) => (id === EOS ? (skipSpecialTokens ? "" : "$") : String.fromCodePoint(id))).join(""),
};

function file(name: string, rows: readonly unknown[]): string {
  const path = join(directory, name);
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  return path;
}

const config = (text: string): SftConfig => parseConfig(`model: m\n${text}`, "sft.yaml", SftConfig);

const rows = Array.from({ length: 40 }, (_, i) => ({ question: `q${i % 20}`, answer: `a${i}` }));
const columns = "columns: { prompt: question, completion: answer }";

describe("loadSftData()", () => {
  it("reads a file by the configuration's columns, templates and lengths", async () => {
    const train = file("t.jsonl", rows);
    const data = await loadSftData(
      config(
        `maxLength: 8\ntruncation: keep_end\ntrainOn: completions\ndata: { train: ${train}, maxRows: 4, promptTemplate: "{question}:", completionTemplate: " {answer}xx" }`,
      ),
      { tokenizer },
    );
    // "q0: a0xx$" has 9 tokens: the first one goes.
    expect(previewSftData(data, tokenizer).split("\n\n")[1]).toBe(
      "Row of line 1: 8 tokens, 6 with a loss\n0:« a0xx$»",
    );
    expect(data.train).toHaveLength(4);
    expect(data.validation).toEqual([]);
    expect(data.warnings).toEqual([`4 of 4 rows (100 %) of ${train} were truncated and lost 4 tokens`]);
  });

  it("splits by prompt with the configuration's seed", async () => {
    const train = file("t.jsonl", rows);
    const load = (seed: number) =>
      loadSftData(config(`seed: ${seed}\ndata: { train: ${train}, validationFraction: 0.25, ${columns} }`), {
        tokenizer,
      });
    const data = await load(1);
    expect([data.train.length, data.validation.length]).toEqual([30, 10]);
    const held = new Set(data.validation.map(({ promptKey }) => promptKey));
    expect(data.train.filter(({ promptKey }) => held.has(promptKey))).toEqual([]);
    expect(await load(1)).toEqual(data);
    expect((await load(2)).validation).not.toEqual(data.validation);
    expect(Object.keys(data.dataHashes)).toEqual([train]);
    expect(data.dataHashes[train]).toMatch(/^[0-9a-f]{64}$/);
  });

  it("takes a validation file and warns of prompts that are trained on", async () => {
    const train = file("t.jsonl", rows.slice(0, 10));
    const validation = file("v.jsonl", [...rows.slice(8, 12), { question: "q2", answer: "" }]);
    const data = await loadSftData(
      config(
        `data: { train: ${train}, validation: ${validation}, maxUnsupervisedFraction: 0.2, ${columns} }`,
      ),
      { tokenizer },
    );
    expect(data.warnings).toEqual([
      `1 of 5 rows (20 %) of ${validation} have no token to train on and are left out; the first is line 5`,
      `2 of 4 rows of ${validation} have a prompt that is trained on: the validation loss will flatter`,
    ]);
    expect(data.validation).toHaveLength(4);
    expect(Object.keys(data.dataHashes)).toEqual([train, validation]);
  });

  it("refuses by the configuration's limits, of either file", async () => {
    const good = file("t.jsonl", rows);
    const bad = file("b.jsonl", [...rows.slice(0, 9), { question: "q", answer: "" }]);
    const message = `Cannot train on ${bad}: 1 of 10 rows (10 %) have no token to train on, expected at most 5 % (data.maxUnsupervisedFraction); the first is ${bad}:10. With trainOn "completions" only completions are trained on: are they empty?`;
    for (const files of [`train: ${bad}`, `train: ${good}, validation: ${bad}`]) {
      await expect(loadSftData(config(`data: { ${files}, ${columns} }`), { tokenizer })).rejects.toThrow(
        message,
      );
    }
  });
});

describe("previewSftData()", () => {
  it("shows the first three rows, trained tokens marked", async () => {
    const data = await loadSftData(config(`data: { train: ${file("t.jsonl", rows)}, ${columns} }`), {
      tokenizer,
    });
    expect(previewSftData(data, tokenizer)).toBe(
      [
        "The first 3 rows; the tokens with a loss are in «…»:",
        "Row of line 1: 5 tokens, 3 with a loss\nq0«a0$»",
        "Row of line 2: 5 tokens, 3 with a loss\nq1«a1$»",
        "Row of line 3: 5 tokens, 3 with a loss\nq2«a2$»",
      ].join("\n\n"),
    );
  });
});
