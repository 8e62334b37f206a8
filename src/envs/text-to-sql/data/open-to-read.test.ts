import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "libsql";
import { afterEach, beforeEach, expect, it } from "vitest";
import { describeDatabase } from "../schema-prompt.js";
import { indexCells } from "./cell-index.js";
import { openToRead } from "./open-to-read.js";
import { readSqliteSchema } from "./schema.js";
import type { SqlDatabase } from "./spider.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hone-read-"));
  // Such names have a meaning in the addresses by which SQLite opens files.
  path = join(folder, "my pets?mode=rwc#%41.sqlite");
  const file = new Sqlite(path);
  file.exec("CREATE TABLE Pet (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO Pet VALUES (1, 'Rex')");
  file.close();
});
afterEach(() => rmSync(folder, { recursive: true }));

const SCHEMA = {
  database: "pets",
  tables: [{ name: "Pet", columns: [{ name: "name", type: "text" as const, isPrimaryKey: false }] }],
  foreignKeys: [],
};
const database = (at: string): SqlDatabase => ({ name: "pets", path: at, schema: SCHEMA });
const READERS: readonly (readonly [string, (at: string) => unknown])[] = [
  ["readSqliteSchema()", (at) => readSqliteSchema(at, "pets").tables],
  ["indexCells()", (at) => indexCells(database(at), new Set()).find("rex")],
  ["describeDatabase()", (at) => describeDatabase(database(at), 2)],
];

it.each(READERS)("%s reads a database and leaves its bytes and its folder as they were", (_, read) => {
  const state = () => ({
    names: readdirSync(folder),
    bytes: readFileSync(path).toString("hex"),
    changed: statSync(path).mtimeMs,
  });
  const before = state();
  expect(JSON.stringify(read(path)).toLowerCase()).toMatch(/rex|pet/);
  expect(state()).toEqual(before);
});

it.each(READERS)("%s says that a file is missing, and makes none", (_, read) => {
  const missing = join(folder, "missing.sqlite");
  expect(() => read(missing)).toThrow(
    `Cannot read database "pets": ${missing} does not exist, expected a SQLite file`,
  );
  expect(readdirSync(folder)).toHaveLength(1);
});

it("indexCells() and describeDatabase() read cells that are not UTF-8, without what is not", () => {
  const file = new Sqlite(path);
  file.exec("INSERT INTO Pet VALUES (2, CAST(x'4DFC6C6C6572' AS TEXT)), (3, NULL), (4, x'FF')");
  file.close();
  expect(indexCells(database(path), new Set()).find("mller")).toEqual([
    { text: "Mller", columns: ["pet.name"] },
  ]);
  expect(describeDatabase(database(path), 4).split("\n").slice(-4)).toEqual([
    "-- 1 | Rex",
    "-- 2 | Mller",
    "-- 3 | null",
    "-- 4 | (bytes)",
  ]);
});

it("openToRead() refuses folders and files that are no databases", () => {
  const [text, inner] = [join(folder, "text.sqlite"), join(folder, "inner")];
  writeFileSync(text, "no database ".repeat(100));
  mkdirSync(inner);
  expect(() => openToRead(text, "pets")).toThrow(/text\.sqlite is not a usable database \(.*not a database/);
  expect(() => openToRead(inner, "pets")).toThrow("inner is not a file, expected a SQLite file");
});

it("openToRead() gives a connection that cannot write", () => {
  const file = openToRead(path, "pets");
  try {
    expect(() => file.exec("INSERT INTO Pet VALUES (2, 'Tom')")).toThrow("readonly");
    expect(file.prepare("SELECT name FROM Pet").raw().all()).toEqual([["Rex"]]);
  } finally {
    file.close();
  }
});
