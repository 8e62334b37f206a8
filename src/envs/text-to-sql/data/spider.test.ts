import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "libsql";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadSpider, loadTextToSqlData, splitQuestions } from "./spider.js";
import { NO_SPIDER, SPIDER_FOLDER } from "./spider-folder.test-data.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hone-spider-"));
  mkdirSync(join(folder, "database", "pets"), { recursive: true });
  const file = new Sqlite(join(folder, "database", "pets", "pets.sqlite"));
  file.exec(
    "CREATE TABLE Owner (id INTEGER PRIMARY KEY, born DATE); CREATE TABLE Pet (pet_id INTEGER PRIMARY KEY, name VARCHAR(20), is_old BOOL, owner INTEGER REFERENCES Owner, weight REAL, photo BLOB)",
  );
  file.close();
});
afterEach(() => rmSync(folder, { recursive: true }));

const row = { db_id: "pets", question: "How many pets?", query: "SELECT count(*) FROM Pet" };
const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);

it("loadTextToSqlData() reads the schema of a database without tables.json from its file", () => {
  write("dev.json", JSON.stringify([row]));
  const schema = loadTextToSqlData(folder).databases.get("pets")?.schema;
  expect(schema?.tables[1]?.columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
    "pet_id number",
    "name text",
    "is_old boolean",
    "owner number",
    "weight number",
    "photo others",
  ]);
  expect(schema?.foreignKeys).toEqual([{ table: "Pet", column: "owner", toTable: "Owner", toColumn: "id" }]);
});

it("loadTextToSqlData() tags hardness, and names questions whose database has no file", () => {
  write("dev.json", JSON.stringify([row, { ...row, db_id: "gone" }]));
  const { splits, withoutDatabase } = loadTextToSqlData(folder);
  expect(Object.values(splits).flat()).toEqual([
    { id: "dev-0", question: row.question, sql: row.query, database: "pets", tags: { hardness: "easy" } },
  ]);
  expect(withoutDatabase).toEqual({ gone: 1 });
});

it("loadTextToSqlData() refuses an id that two questions have: predictions and episodes go by it", () => {
  const lines = (...rows: object[]): string => rows.map((one) => JSON.stringify(one)).join("\n");
  write("sft.jsonl", lines({ ...row, id: "a" }, { ...row, id: "b", question: "How many?" }));
  write("rl.jsonl", lines({ ...row, question: "Count the pets" }, { ...row, id: "b", question: "Count" }));
  write("validation.jsonl", "");
  write("test.jsonl", "");
  expect(() => loadTextToSqlData(folder)).toThrow(
    `Cannot load text-to-SQL data from ${folder}: the id "b" stands twice (sft.jsonl, question 2; rl.jsonl, question 2), expected one of its own for every question. Leave ids out to have them made`,
  );
});

it.each([
  [
    "train_pairs.jsonl",
    `${JSON.stringify(row)}\n\n{"db_id": "pets", "question": 3}\n`,
    'train_pairs.jsonl:3: "question" is wrong: Invalid input: expected string, received number',
  ],
  ["train_pairs.jsonl", "{oops\n", "train_pairs.jsonl:1: it is not JSON"],
  [
    "dev.json",
    `[\n  ${JSON.stringify(row)},\n  {"db_id": "],[",\n   "question": "?", "query": "q"},\n\n  {}\n]`,
    'dev.json:6 (row 3): "db_id" is wrong',
  ],
  ["dev.json", "{}", "dev.json: it holds one object, expected a list"],
])("loadTextToSqlData() says where %s is wrong", (name, text, message) => {
  write(name, text);
  expect(() => loadTextToSqlData(folder)).toThrow(message);
});

it("loadTextToSqlData() says where tables.json is wrong", () => {
  write("dev.json", "[]");
  write("tables.json", '[\n{"db_id": "pets"}\n]');
  expect(() => loadTextToSqlData(folder)).toThrow('tables.json:2 (row 1): "table_names_original" is wrong');
});

it("loadTextToSqlData() refuses a folder without questions or databases", () => {
  expect(() => loadTextToSqlData(folder)).toThrow("expected questions with db_id, question and query");
  expect(() => loadTextToSqlData(join(folder, "none"))).toThrow(
    "does not exist, expected one folder per database with its SQLite file",
  );
  expect(() => loadTextToSqlData(folder, { databases: ["cars"] })).toThrow('Cannot load database "cars"');
});

it("loadTextToSqlData() refuses a question that stands in two splits", () => {
  for (const split of ["sft", "rl", "validation", "test"]) write(`${split}.jsonl`, "");
  write("sft.jsonl", JSON.stringify(row));
  write("test.jsonl", `${JSON.stringify(row)}\n`);
  expect(() => loadTextToSqlData(folder)).toThrow('question "How many pets?" of database "pets" is in');
});

describe("splitQuestions()", () => {
  const examples = Array.from({ length: 400 }, (_, i) => ({
    id: `${i}`,
    question: `question ${i % 300}`,
    sql: `query ${i % 150}`,
    database: "db",
    tags: { hardness: "easy" as const },
  }));
  const shares = { sft: 2, rl: 1, validation: 1, test: 1 };

  it.each(["question", "query"] as const)(
    "keeps what has the same %s in one split, and loses nothing",
    (splitBy) => {
      const splits = splitQuestions(examples, { seed: 3, shares, splitBy });
      const owners = new Map<string, Set<string>>();
      for (const [split, rows] of Object.entries(splits)) {
        for (const one of rows) {
          const key = splitBy === "question" ? one.question : one.sql;
          owners.set(key, (owners.get(key) ?? new Set()).add(split));
        }
      }
      expect([...owners.values()].every(({ size }) => size === 1)).toBe(true);
      const ids = Object.values(splits)
        .flat()
        .map(({ id }) => id);
      expect(new Set(ids).size).toBe(400);
      expect(splits.sft.length).toBeGreaterThan(130);
    },
  );

  it("follows the seed", () => {
    const ids = (seed: number) => splitQuestions(examples, { seed, shares }).sft.map(({ id }) => id);
    expect(ids(1)).toEqual(ids(1));
    expect(ids(1)).not.toEqual(ids(2));
  });
});

it.skipIf(SPIDER_FOLDER === undefined)(
  `loadSpider() reads all of Spider that has a database${NO_SPIDER}`,
  () => {
    const { train, dev, databases, withoutDatabase } = loadSpider(SPIDER_FOLDER!);
    expect(dev).toHaveLength(1034);
    expect(train).toHaveLength(6725 - 292);
    expect(Object.values(withoutDatabase).reduce((a, b) => a + b)).toBe(292);
    expect(databases.size).toBe(156);
    expect([...train, ...dev].filter(({ tags }) => tags.hardness === "unknown")).toEqual([]);
  },
);
