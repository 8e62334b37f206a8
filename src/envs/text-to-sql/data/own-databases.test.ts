import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Sqlite from "libsql";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openToRead } from "./open-to-read.js";
import { databasePath, writeOwnDatabases } from "./own-databases.js";
import { readSqliteSchema } from "./schema.js";
import { loadTextToSqlData, type TextToSqlData } from "./spider.js";

const folder = mkdtempSync(join(tmpdir(), "hone-own-"));
const COUNTS = { sft: 200, rl: 500, validation: 60, test: 120 };
let data: TextToSqlData;

beforeAll(() => {
  writeOwnDatabases(folder, 7, { counts: COUNTS, fillings: 2 });
  data = loadTextToSqlData(folder);
});
afterAll(() => rmSync(folder, { recursive: true }));

const all = () => Object.values(data.splits).flat();

/** Opening a file costs more than a query. */
const files = new Map<string, Sqlite.Database>();
afterAll(() => {
  for (const file of files.values()) file.close();
});

function answer(root: string, database: string, sql: string): string {
  const path = databasePath(root, database);
  const file = files.get(path) ?? openToRead(path, database);
  files.set(path, file);
  return JSON.stringify(file.prepare(sql).raw().all());
}

it("writeOwnDatabases() fills every split with as many questions as asked, no question twice", () => {
  expect(
    Object.fromEntries(Object.entries(data.splits).map(([split, rows]) => [split, rows.length])),
  ).toEqual(COUNTS);
  expect(new Set(all().map(({ database, question }) => `${database}\n${question}`)).size).toBe(880);
});

it("writeOwnDatabases() uses all ten families and twelve databases, each often", () => {
  const tally = (key: (example: (typeof data.splits.rl)[number]) => string | undefined) => {
    const counts = new Map<string | undefined, number>();
    for (const example of all()) counts.set(key(example), (counts.get(key(example)) ?? 0) + 1);
    return counts;
  };
  const families = tally(({ tags }) => tags["family"]);
  expect(families.size).toBe(10);
  expect(Math.min(...families.values())).toBeGreaterThan(50);
  expect(tally(({ database }) => database).size).toBe(12);
});

it("writeOwnDatabases() gives gold that runs, and is empty or 0 for at most one question in fifty", () => {
  const empty = all().filter(({ database, sql }) =>
    /^\[(?:\[(?:null|0)\])*\]$/.test(answer(folder, database, sql)),
  );
  expect(empty.length).toBeLessThanOrEqual(880 / 50);
});

it("writeOwnDatabases() gives fillings on which gold runs too, and most answers differ", () => {
  for (const filling of ["1", "2"]) {
    const root = join(folder, "fillings", filling);
    const changed = all().filter(
      ({ database, sql }) => answer(root, database, sql) !== answer(folder, database, sql),
    );
    expect(changed.length / 880).toBeGreaterThan(0.8);
  }
});

it("writeOwnDatabases() writes the same from the same seed, and other questions from another", () => {
  const [again, other] = [mkdtempSync(join(tmpdir(), "hone-own-")), mkdtempSync(join(tmpdir(), "hone-own-"))];
  try {
    writeOwnDatabases(again, 7, { counts: COUNTS, fillings: 0 });
    writeOwnDatabases(other, 8, { counts: COUNTS, fillings: 0 });
    const read = (root: string) => readFileSync(join(root, "rl.jsonl"), "utf8");
    expect(read(again)).toBe(read(folder));
    expect(read(other)).not.toBe(read(folder));
    expect(answer(again, "zoo", "select * from animal")).toBe(answer(folder, "zoo", "select * from animal"));
    expect(answer(other, "zoo", "select * from animal")).not.toBe(
      answer(folder, "zoo", "select * from animal"),
    );
  } finally {
    rmSync(again, { recursive: true });
    rmSync(other, { recursive: true });
  }
});

it("writeOwnDatabases() writes a tables.json that says what the SQLite files declare", () => {
  for (const { name, path, schema } of data.databases.values()) {
    const declared = readSqliteSchema(path, name);
    // The file lists tables in the order of their making: a parent before its child.
    const sorted = <T extends { readonly name: string }>(items: readonly T[]): T[] =>
      items.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    const plain = (tables: typeof schema.tables) =>
      sorted(tables).map((table) => ({
        name: table.name,
        columns: table.columns.map((column) => ({
          name: column.name,
          type: column.type,
          isPrimaryKey: column.isPrimaryKey,
        })),
      }));
    expect(plain(schema.tables)).toEqual(plain(declared.tables));
    expect(schema.foreignKeys).toEqual(declared.foreignKeys);
  }
});

it("writeOwnDatabases() refuses a count that is not one", () => {
  const root = mkdtempSync(join(tmpdir(), "hone-own-"));
  try {
    expect(() =>
      writeOwnDatabases(root, 1, { counts: { sft: 1, rl: -1, validation: 0, test: 0 }, fillings: -1 }),
    ).toThrow("Cannot write own databases: rl is -1, expected a whole number, 0 or more");
  } finally {
    rmSync(root, { recursive: true });
  }
});
