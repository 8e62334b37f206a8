import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "libsql";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSqlExecutor, type SqlExecutor } from "./index.js";

const directory = mkdtempSync(join(tmpdir(), "hone-executor-"));
const file = join(directory, "a database? 100% #1.sqlite");
const executors: SqlExecutor[] = [];

function open(options: Partial<Parameters<typeof createSqlExecutor>[0]> = {}): SqlExecutor {
  const executor = createSqlExecutor({ databases: () => file, workers: 1, ...options });
  executors.push(executor);
  return executor;
}

beforeAll(() => {
  const database = new Sqlite(file);
  database.exec(`
    CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);
    INSERT INTO singer VALUES (1, 'Ana', 31), (2, 'Bo', 25), (3, 'Cy', 31), (4, 'it''s', NULL);
    CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT);
    INSERT INTO note VALUES (1, 'x');
  `);
  database.close();
});

afterAll(async () => {
  for (const executor of executors) await executor.close();
  rmSync(directory, { recursive: true, force: true });
});

describe("execute()", () => {
  // The rows are those of Python's sqlite3, which takes double-quoted strings.
  it.each<[string, string, unknown[][]]>([
    ["a double-quoted string", 'SELECT id FROM singer WHERE name = "Bo"', [[2]]],
    ["a double-quoted string with an apostrophe", 'SELECT id FROM singer WHERE name = "it\'s"', [[4]]],
    ["a double-quoted column", 'SELECT "id" FROM singer WHERE "name" = "Bo"', [[2]]],
    ["several of them", 'SELECT id FROM singer WHERE name IN ("Ana", "Bo", "Di") ORDER BY id', [[1], [2]]],
    [
      "one name that is a column here and a string there",
      'SELECT "age" FROM singer WHERE id = 2 UNION ALL SELECT "age" FROM note',
      [[25], ["age"]],
    ],
    ["two columns of one name", "SELECT id, id FROM singer WHERE id = 1", [[1, 1]]],
    ["whole numbers beyond 2^53", "SELECT 9007199254740993, 0.5, 7", [[9007199254740993n, 0.5, 7]]],
    ["infinity and NULL", "SELECT 9e999, NULL", [[Number.POSITIVE_INFINITY, null]]],
  ])("reads %s", async (_why, sql, rows) => {
    expect(await open().execute("any", sql)).toMatchObject({ kind: "rows", rows });
  });

  it("gives blobs as bytes and names the columns", async () => {
    const outcome = await open().execute("any", "SELECT x'00ff' AS bytes, 'a' AS \"text\"");
    expect(outcome).toEqual({
      kind: "rows",
      columns: ["bytes", "text"],
      rows: [[expect.any(Uint8Array), "a"]],
    });
    expect([...(outcome as unknown as { rows: [[Uint8Array]] }).rows[0][0]]).toEqual([0, 255]);
  });

  it("stops at the limits of rows and bytes", async () => {
    const executor = open({ maxRows: 3, maxBytes: 200 });
    expect(await executor.execute("any", "SELECT id FROM singer LIMIT 3")).toMatchObject({ kind: "rows" });
    expect(await executor.execute("any", "SELECT id FROM singer")).toEqual({
      kind: "too_large",
      message: "the result has more than 3 rows",
    });
    expect(await executor.execute("any", "SELECT printf('%.200c', 'x')")).toEqual({
      kind: "too_large",
      message: "the result has more than 200 bytes",
    });
  });

  it("rejects after close()", async () => {
    const executor = open();
    await executor.close();
    await expect(executor.execute("any", "SELECT 1")).rejects.toThrow("the pool was closed");
  });
});

describe("compare()", () => {
  const isMatch = async (gold: string, predicted: string, options = {}): Promise<boolean> => {
    const comparison = await open(options).compare("any", { gold, predicted });
    if (comparison.kind === "invalid") throw new Error(comparison.message);
    return comparison.isMatch;
  };

  it("heeds the order of rows only where the gold statement orders", async () => {
    const byName = "SELECT name FROM singer ORDER BY name";
    const backwards = "SELECT name FROM singer ORDER BY name DESC";
    expect(await isMatch(byName, backwards)).toBe(false);
    expect(await isMatch("SELECT name FROM singer", backwards)).toBe(true);
  });

  it("keeps DISTINCT, or takes it out on both sides", async () => {
    const [gold, predicted] = ["SELECT DISTINCT age FROM singer", "SELECT age FROM singer"] as const;
    expect(await isMatch(gold, predicted)).toBe(false);
    expect(await isMatch(gold, predicted, { distinct: "removed" })).toBe(true);
  });

  it("mends > = as the official evaluation does", async () => {
    expect(
      await isMatch("SELECT id FROM singer WHERE age >= 31", "SELECT id FROM singer WHERE age > = 31"),
    ).toBe(true);
  });

  it("cuts what is long in what it tells, not in what it compares", async () => {
    const long = (last: string): string => `SELECT printf('%.100000c', 'x') || '${last}'`;
    const comparison = await open().compare("any", { gold: long("a"), predicted: long("b") });
    expect(comparison).toMatchObject({ isMatch: false, gold: { rows: [[`${"x".repeat(500)}…`]] } });
    const unknown = await open().execute("any", `SELECT ${"y".repeat(100_000)} FROM singer`);
    expect(unknown).toEqual({ kind: "no_such_column", message: `no such column: ${"y".repeat(484)}…` });
  });

  it("remembers the gold result and shows the first rows", async () => {
    const executor = open({ previewRows: 2 });
    const statements = { gold: "SELECT id FROM singer", predicted: "SELECT 1" };
    const first = await executor.compare("any", statements);
    expect(first).toEqual({
      kind: "compared",
      isMatch: false,
      executions: 2,
      gold: { kind: "rows", columns: ["id"], rows: [[1], [2]], rowCount: 4 },
      predicted: { kind: "rows", columns: ["1"], rows: [[1]], rowCount: 1 },
    });
    expect(await executor.compare("any", statements)).toEqual({ ...first, executions: 1 });
  });
});
