import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { loadRecords } from "./records/read-records.js";
import { type DataRow, readRows } from "./rows.js";

/** Written by pyarrow (tools/golden/parquet.py). */
const GOLDEN = join(import.meta.dirname, "../../tests/golden/parquet");

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-rows-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function rowsOf(path: string): Promise<DataRow[]> {
  const rows: DataRow[] = [];
  for await (const row of readRows(path)) rows.push(row);
  return rows;
}

async function refusal(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(directory, name);
  writeFileSync(path, content);
  const thrown = await rowsOf(path).then(
    (rows) => JSON.stringify(rows),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(UserError);
  return (thrown as UserError).message.replaceAll(`${directory}/`, "");
}

/** What pyarrow was given; a null is an absent column. */
const goldenRows = (): unknown[] =>
  JSON.parse(readFileSync(join(GOLDEN, "pairs.json"), "utf8"), (_, value: unknown) => value ?? undefined);

describe("readRows() of Parquet", () => {
  it.each(["snappy", "gzip", "zstd", "brotli", "none", "v2"])(
    "gives the rows that pyarrow wrote (%s)",
    async (name) => {
      const rows = await rowsOf(join(GOLDEN, `pairs-${name}.parquet`));
      expect(rows.map(({ line }) => line)).toEqual(Array.from({ length: 25 }, (_, i) => i + 1));
      expect(rows.map(({ value }) => value)).toEqual(goldenRows());
    },
  );

  it("makes the same records, with the same content hash, as JSON Lines", async () => {
    const jsonl = join(directory, "pairs.jsonl");
    writeFileSync(
      jsonl,
      goldenRows()
        .map((row) => JSON.stringify(row))
        .join("\n"),
    );
    const fromParquet = await loadRecords(join(GOLDEN, "pairs-snappy.parquet"));
    const fromJsonl = await loadRecords(jsonl);
    expect(fromParquet.records).toEqual(fromJsonl.records);
    expect(fromParquet.contentHash).toBe(fromJsonl.contentHash);
    expect(fromParquet.fileHash).not.toBe(fromJsonl.fileHash);
  });

  it("tells Parquet from its first bytes, whatever the file is called", async () => {
    const path = join(directory, "data");
    copyFileSync(join(GOLDEN, "pairs-snappy.parquet"), path);
    expect(await rowsOf(path)).toHaveLength(25);
  });

  it("refuses a file that is cut, holds no Parquet, or uses a codec that is not read", async () => {
    const whole = readFileSync(join(GOLDEN, "pairs-snappy.parquet"));
    expect(await refusal("cut.parquet", whole.subarray(0, whole.length - 100))).toBe(
      "Cannot read cut.parquet: parquet file invalid (footer != PAR1), expected a whole Parquet file. Fetch or write it again",
    );
    expect(await refusal("text.parquet", '{"prompt":"p"}\n')).toMatch(
      /^Cannot read text\.parquet: .*expected a whole Parquet file/,
    );
    expect(await refusal("lz4.parquet", readFileSync(join(GOLDEN, "pairs-lz4.parquet")))).toMatch(
      /^Cannot read lz4\.parquet: its pages are compressed with LZ4.*, expected one of UNCOMPRESSED, SNAPPY, GZIP, BROTLI, ZSTD\. Write it with compression="snappy"$/,
    );
  });

  it("refuses damaged bytes, or gives every row: it never crashes and never drops one", async () => {
    const whole = readFileSync(join(GOLDEN, "pairs-gzip.parquet"));
    let refused = 0;
    for (let at = 4; at < whole.length - 8; at += 97) {
      const damaged = Buffer.from(whole);
      damaged.fill(0xff, at, at + 8);
      const path = join(directory, "damaged.parquet");
      writeFileSync(path, damaged);
      const outcome = await rowsOf(path).then(
        (rows) => rows.length,
        (error: unknown) => error,
      );
      if (outcome instanceof UserError) refused++;
      else expect(outcome, `bytes at ${at}`).toBe(25);
    }
    expect(refused).toBeGreaterThan(10);
  });
});

describe("readRows() of JSON", () => {
  it("reads an array of objects, each with its number", async () => {
    const path = join(directory, "rows.json");
    writeFileSync(path, '\uFEFF[\n  {"prompt": "a"},\n  {"prompt": "b"}\n]\n');
    expect(await rowsOf(path)).toEqual([
      { line: 1, value: { prompt: "a" } },
      { line: 2, value: { prompt: "b" } },
    ]);
  });

  it("says where an array is broken, and what there is instead of a file", async () => {
    expect(await refusal("rows.json", '[\n  {"prompt": "a"},\n  {"prompt": }\n]')).toBe(
      'Cannot read rows.json:3:14: found "}", expected a JSON value. The file is read as one JSON array because it begins with [',
    );
    await expect(rowsOf(join(directory, "none"))).rejects.toThrow(
      `Cannot read ${directory}/none: no such file, expected a file of JSON Lines, Parquet or a JSON array`,
    );
  });
});
