import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { diffRecords } from "./diff-records.js";
import { findLineage, writeParts } from "./lineage.js";
import { parseRecord } from "./records/parse-record.js";
import { loadRecords, promptKey } from "./records/read-records.js";
import type { DataRecord } from "./records/record.js";
import { splitRecords } from "./split-records.js";

const recordsOf = (rows: readonly Record<string, unknown>[]): DataRecord[] =>
  rows.map((row, i) => parseRecord(row, { line: i + 1, at: `d.jsonl:${i + 1}` }));
const SHARES = { train: 0.8, validation: 0.1, test: 0.1 };

describe("splitRecords()", () => {
  it("gives shares of the rows to the row where every prompt has one", () => {
    const records = recordsOf(Array.from({ length: 1000 }, (_, i) => ({ prompt: `p ${i}` })));
    const split = splitRecords(records, SHARES, 7);
    expect(Object.entries(split).map(([name, rows]) => [name, rows.length])).toEqual([
      ["train", 800],
      ["validation", 100],
      ["test", 100],
    ]);
    expect(splitRecords(records, SHARES, 7)).toEqual(split);
    expect(splitRecords(records, SHARES, 8)).not.toEqual(split);
  });

  it("puts no prompt in two splits, loses no row, and keeps the file's order", () => {
    const prompts = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 3, maxLength: 120 });
    fc.assert(
      fc.property(prompts, fc.integer({ min: 0, max: 1000 }), (numbers, seed) => {
        fc.pre(new Set(numbers).size >= 3);
        // Case and white space make no other prompt.
        const records = recordsOf(
          numbers.map((n, i) => ({ prompt: i % 2 ? `Prompt ${n}` : ` prompt  ${n} ` })),
        );
        const parts = Object.values(splitRecords(records, SHARES, seed));
        const owners = new Map<string, number>();
        parts.forEach((part, owner) => {
          expect(part.length).toBeGreaterThan(0);
          expect(part.map(({ line }) => line)).toEqual(part.map(({ line }) => line).sort((a, b) => a - b));
          for (const record of part) {
            const key = promptKey(record);
            expect(owners.get(key) ?? owner).toBe(owner);
            owners.set(key, owner);
          }
        });
        expect(parts.flat().length).toBe(records.length);
        expect(new Set(parts.flat()).size).toBe(records.length);
      }),
      { numRuns: 100 },
    );
  });

  it("spreads every category as the whole is spread", () => {
    const rows = Array.from({ length: 500 }, (_, i) => ({
      prompt: `p ${i}`,
      category: i % 10 === 0 ? "rare" : "usual",
    }));
    const split = splitRecords(recordsOf(rows), SHARES, 3);
    const rare = (name: string) => split[name]!.filter(({ category }) => category === "rare").length;
    expect([rare("train"), rare("validation"), rare("test")]).toEqual([40, 5, 5]);
  });

  it("refuses a single prompt, and shares that are none", () => {
    const one = recordsOf([{ prompt: "p", chosen: "a", rejected: "b" }]);
    expect(() => splitRecords(one, { train: 0.9, validation: 0.1 }, 0)).toThrow(
      "Cannot split 1 rows into train, validation: they have 1 different prompts, expected at least 2, for no prompt may be in two splits",
    );
    expect(() => splitRecords(one, { train: 0.9, test: 0.2 }, 0)).toThrow(
      "Cannot split into train=0.9, test=0.2: the shares add up to 1.1, expected two or more above 0 that add up to 1, such as train=0.8,validation=0.1,test=0.1",
    );
  });

  it("gives two prompts to two splits, however small the share", () => {
    const two = recordsOf([{ prompt: "p" }, { prompt: "q" }]);
    const { train, validation } = splitRecords(two, { train: 0.99, validation: 0.01 }, 0);
    expect([train!.length, validation!.length]).toEqual([1, 1]);
  });
});

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-split-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function setOf(name: string, rows: readonly Record<string, unknown>[]) {
  const path = join(directory, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return loadRecords(path);
}

describe("writeParts()", () => {
  it("writes rows as they were, and which lines of what file they are", async () => {
    const source = await setOf(
      "all.jsonl",
      [1, 2, 3, 4, 5].map((n) => ({ prompt: `p ${n}`, id: n, note: null })),
    );
    const [a, b, c, d, e] = source.records;
    const made = { by: "hone data split", settings: { seed: 1 } };
    const manifest = writeParts(directory, source, { train: [a!, b!, d!], test: [c!, e!] }, made);
    expect(readFileSync(join(directory, "test.jsonl"), "utf8")).toBe(
      '{"prompt":"p 3","id":3,"note":null}\n{"prompt":"p 5","id":5,"note":null}\n',
    );
    expect(manifest.parts.map(({ sourceLines }) => sourceLines)).toEqual([
      [
        [1, 2],
        [4, 4],
      ],
      [
        [3, 3],
        [5, 5],
      ],
    ]);
    const path = join(directory, "train.jsonl");
    expect(await findLineage(path)).toMatchObject({
      manifest: { source: { rows: 5, fileHash: source.fileHash, contentHash: source.contentHash }, made },
      part: { rows: 3, contentHash: (await loadRecords(path)).contentHash },
      isUnchanged: true,
    });
    writeFileSync(path, '{"prompt":"other"}\n');
    expect(await findLineage(path)).toMatchObject({ isUnchanged: false });
    expect(await findLineage(source.path)).toBeUndefined();
    writeFileSync(join(directory, "dataset.json"), "{");
    await expect(findLineage(path)).rejects.toThrow("it is not JSON, expected what hone data split wrote");
  });
});

it("diffRecords() counts rows by what they say, repetitions too, and prompts with other rows", async () => {
  const row = (prompt: string, chosen: string, category = "x") => ({
    prompt,
    chosen,
    rejected: "r",
    category,
  });
  const before = await setOf("before.jsonl", [row("a", "1"), row("a", "1"), row("b", "1"), row("c", "1")]);
  const after = await setOf("after.jsonl", [
    row("c", "1"),
    row("b", "22", "y"),
    row("a", "1"),
    row("d", "1", "y"),
  ]);
  const diff = diffRecords(before, after);
  expect(diff).toMatchObject({
    isSame: false,
    rows: { shared: 2, removed: 2, added: 2, removedLines: [2, 3], addedLines: [2, 4] },
    prompts: { shared: 3, removed: 0, added: 1 },
    changedPrompts: 2,
    categories: [
      { category: "x", before: 1, after: 0.5 },
      { category: "y", before: 0, after: 0.5 },
    ],
  });
  expect(diff.lengths.find(({ part }) => part === "chosen")).toMatchObject({
    before: { max: 1 },
    after: { max: 2 },
  });
  expect(diffRecords(before, before)).toMatchObject({
    isSame: true,
    rows: { removed: 0, added: 0 },
    changedPrompts: 0,
  });
});
