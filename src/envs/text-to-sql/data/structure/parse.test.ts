import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { type DatabaseSchema, schemaOfEntry, tablesJsonEntry } from "../schema.js";
import { NO_SPIDER, SPIDER_FOLDER } from "../spider-folder.test-data.js";
import { HARDNESS_LEVELS, hardnessOf, hardnessOfSql } from "./hardness.js";
import { parseSpiderQuery } from "./parse.js";
import { toSpiderJson } from "./spider-json.js";

const column = (name: string) => ({ name, type: "text" as const, isPrimaryKey: false });
const SCHEMA: DatabaseSchema = {
  database: "pets",
  tables: [
    { name: "Owner", columns: [column("id"), column("Name"), column("city")] },
    { name: "Pet", columns: [column("id"), column("owner"), column("weight"), column("Home Town")] },
  ],
  foreignKeys: [],
};

const parsed = (sql: string): unknown => toSpiderJson(parseSpiderQuery(sql, SCHEMA), SCHEMA);
/** [aggregate, column, distinct]: columns are id 1, Name 2, city 3, id 4, owner 5, weight 6, Home Town 7. */
const plain = (id: number, aggregate = 0) => [0, [aggregate, id, false], null];

it("parseSpiderQuery() gives aliases the table they were last given anywhere", () => {
  // T1 means Pet in the whole query, as the benchmark has it; Pet has no city, so Owner is meant there.
  expect(
    parsed("SELECT T1.id, T1.city FROM Owner AS T1 EXCEPT SELECT T1.id, T1.owner FROM Pet AS T1"),
  ).toMatchObject({
    select: [
      false,
      [
        [0, plain(4)],
        [0, plain(3)],
      ],
    ],
    except: {
      select: [
        false,
        [
          [0, plain(4)],
          [0, plain(5)],
        ],
      ],
    },
  });
});

it("parseSpiderQuery() finds a column without qualifier in the first table of FROM that has it", () => {
  expect(parsed("select id, weight from Pet join Owner on Pet.owner = Owner.id")).toMatchObject({
    select: [
      false,
      [
        [0, plain(4)],
        [0, plain(6)],
      ],
    ],
    from: {
      table_units: [
        ["table_unit", 1],
        ["table_unit", 0],
      ],
      conds: [[false, 2, plain(5), [0, 1, false], null]],
    },
  });
});

it.each<[string, object]>([
  ["select count(*) from Pet where weight between 1 and 2.5 or not_there = 1", {}],
  ["select max(weight) - min(weight) from Pet", {}],
])("parseSpiderQuery() refuses what is outside the grammar: %s", (sql) => {
  expect(() => parsed(sql)).toThrow();
});

it("parseSpiderQuery() looks past what follows the query where it is told to", () => {
  const expected = parsed("select id from Pet order by id limit 3");
  for (const rest of ["offset 1", "group by id", "; select 2"]) {
    const sql = `select id from Pet order by id limit 3 ${rest}`;
    expect(() => parsed(sql)).toThrow("expected the end of the query");
    expect(toSpiderJson(parseSpiderQuery(sql, SCHEMA, { rest: "ignored" }), SCHEMA)).toEqual(expected);
  }
  // Conditions and FROM go on until a clause, so that this is no rest.
  for (const sql of [
    "select id from Pet where id = 1 by id",
    "select id from Pet a b",
    "select id from Pet in",
  ])
    expect(() => parseSpiderQuery(sql, SCHEMA, { rest: "ignored" })).toThrow("expected a clause");
});

it.each([
  ["select id from Pet where weight>=3", { where: [[false, 5, plain(6), 3, null]] }],
  ["select id from Pet where weight<>-3", { where: [[false, 7, plain(6), -3, null]] }],
  ["select id from Pet where `Home Town` is not null", { where: [[true, 10, plain(7), '"null"', null]] }],
  ["select id from Pet where weight not between 1 and 2", { where: [[true, 1, plain(6), 1, 2]] }],
  [
    "select id from Pet p left join Owner o on p.owner = o.id",
    {
      from: {
        table_units: [
          ["table_unit", 1],
          ["table_unit", 0],
        ],
      },
    },
  ],
  ['select name from Owner where name = "Ann"', { where: [[false, 2, plain(2), '"Ann"', null]] }],
  [
    "select city from Owner group by city having count(*) > 2 and sum(id) < 9",
    { having: [[false, 3, plain(0, 3), 2, null], "and", [false, 4, plain(1, 4), 9, null]] },
  ],
  [
    "select city from Owner order by name desc, city limit 3;",
    { orderBy: ["desc", [plain(2), plain(3)]], limit: 3 },
  ],
  ["select id from Pet limit -3", { limit: -3 }],
  ["select id from Pet where weight > = 3", { where: [[false, 5, plain(6), 3, null]] }],
  // Behind a column as a value all is skipped up to AND or a clause, as in the benchmark.
  [
    "select id from Pet where weight = id or owner = 1 and owner = 2 order by id",
    {
      where: [[false, 2, plain(6), [0, 4, false], null], "and", [false, 2, plain(5), 2, null]],
      orderBy: ["asc", [plain(4)]],
    },
  ],
  [
    "select count(*) from (select weight from Pet limit 2)",
    { from: { table_units: [["sql", { limit: 2 }]] } },
  ],
])("parseSpiderQuery() reads %s", (sql, expected) => {
  expect(parsed(sql)).toMatchObject(expected);
});

describe("hardnessOfSql()", () => {
  it.each([
    ["select count(*) from Pet", "easy"],
    ["select id from Pet where weight = 1", "easy"],
    ["select id, owner from Pet where weight = 1", "medium"],
    ["select owner, count(*) from Pet group by owner", "medium"],
    ["select owner from Pet where weight = 1 group by owner", "medium"],
    // Two clauses are medium with fewer than two complications; two of them make it extra.
    ["select owner, count(*), max(id) from Pet where weight = 1 group by owner", "extra"],
    // Two clauses and three complications (aggregates, columns, conditions): hard.
    ["select owner, count(*), max(id) from Pet where weight = 1 and id = 2 group by owner", "hard"],
    // where, group, limit
    ["select owner from Pet where weight = 1 group by owner limit 1", "hard"],
    ["select id from Pet where weight = (select max(weight) from Pet)", "hard"],
    ["select id from Pet union select id from Owner", "hard"],
    ["select id, owner from Pet where weight = (select max(weight) from Pet)", "extra"],
    // where, group, order, limit
    ["select owner from Pet where weight = 1 group by owner order by owner limit 1", "extra"],
    // OR and LIKE count as clauses: where, or, like
    ["select id from Pet where weight = 1 or owner like 'a'", "hard"],
  ])("%s is %s", (sql, expected) => {
    expect(hardnessOfSql(sql, SCHEMA)).toBe(expected);
  });
});

describe.skipIf(SPIDER_FOLDER === undefined)(`on Spider's development set${NO_SPIDER}`, () => {
  const devRow = z.object({ db_id: z.string(), query: z.string(), sql: z.unknown() });
  const load = () => {
    const read = (name: string): unknown => JSON.parse(readFileSync(join(SPIDER_FOLDER!, name), "utf8"));
    const schemas = new Map(
      z
        .array(tablesJsonEntry)
        .parse(read("tables.json"))
        .map((entry) => [entry.db_id, schemaOfEntry(entry, "tables.json")]),
    );
    return z
      .array(devRow)
      .parse(read("dev.json"))
      .map((row) => ({ ...row, schema: schemas.get(row.db_id)! }));
  };

  it("parseSpiderQuery() gives the benchmark's own structure of every query", () => {
    const rows = load();
    expect(rows.map(({ query, schema }) => toSpiderJson(parseSpiderQuery(query, schema), schema))).toEqual(
      rows.map(({ sql }) => sql),
    );
  });

  it("hardnessOf() gives the published counts", () => {
    const levels = load().map(({ query, schema }) => hardnessOf(parseSpiderQuery(query, schema)));
    expect(HARDNESS_LEVELS.map((level) => levels.filter((one) => one === level).length)).toEqual([
      248, 446, 174, 166,
    ]);
  });
});
