/** The complete path from statement to match, on all of Spider's gold queries. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSqlExecutor, type SqlComparison, type SqlExecutor } from "../../src/envs/index.js";

const folder = resolve(
  process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../shared/data"),
  "spider",
);
const isHere = existsSync(join(folder, "dev.json"));
const skipped = isHere ? "" : ` (skipped: ${folder} is absent)`;

/** Of 8659 train queries; the others miss their database or a value of it, see the folder's SOURCES.md. */
const TRAIN_QUERIES_THAT_RUN = 6779;

interface Pair {
  readonly sql: string;
  readonly database: string;
}

const databaseFile = (name: string): string => join(folder, "database", name, `${name}.sqlite`);

function goldPairs(file: string): Pair[] {
  const lines = readFileSync(join(folder, file), "utf8").trim().split("\n");
  return lines.map((line) => {
    const [sql, database] = line.split("\t");
    return { sql: sql!, database: database!.trim() };
  });
}

function hashOf(databases: Iterable<string>): string {
  const hash = createHash("sha256");
  for (const name of databases)
    if (existsSync(databaseFile(name))) hash.update(readFileSync(databaseFile(name)));
  return hash.digest("hex");
}

describe.skipIf(!isHere)(`Spider's gold queries${skipped}`, () => {
  let executor: SqlExecutor;
  beforeAll(() => {
    // A query that runs must not fail for the machine's being busy.
    executor = createSqlExecutor({ databases: databaseFile, deadlineMs: 20_000 });
  });
  afterAll(() => executor.close());

  const againstThemselves = async (pairs: readonly Pair[]): Promise<SqlComparison[]> => {
    const names = new Set(pairs.map(({ database }) => database));
    const before = hashOf(names);
    const comparisons = await Promise.all(
      pairs.map(({ sql, database }) => executor.compare(database, { gold: sql, predicted: sql })),
    );
    expect(hashOf(names)).toBe(before);
    return comparisons;
  };

  it("match themselves, all 1034 of dev", async () => {
    const questions = JSON.parse(readFileSync(join(folder, "dev.json"), "utf8")) as {
      query: string;
      db_id: string;
    }[]; // the dataset's documented form
    const pairs = questions.map(({ query, db_id }) => ({ sql: query, database: db_id }));
    const comparisons = await againstThemselves(pairs);
    expect(comparisons).toHaveLength(1034);
    expect(comparisons.filter((comparison) => !("isMatch" in comparison && comparison.isMatch))).toEqual([]);
  });

  it(`match themselves, all ${TRAIN_QUERIES_THAT_RUN} of train that run, and the others are invalid`, async () => {
    const comparisons = await againstThemselves(goldPairs("train_gold.sql"));
    const matched = comparisons.filter((comparison) => "isMatch" in comparison && comparison.isMatch);
    expect(matched).toHaveLength(TRAIN_QUERIES_THAT_RUN);
    expect(comparisons.filter(({ kind }) => kind === "compared")).toHaveLength(TRAIN_QUERIES_THAT_RUN);
  });

  it("match the answer to another question of the database as rarely as the official evaluation says", async () => {
    const pairs = goldPairs("dev_gold.sql");
    const others = pairs.map(({ sql, database }, i) => {
      const rest = pairs.filter((pair) => pair.database === database && pair.sql !== sql);
      return { database, gold: sql, predicted: rest[i % rest.length]!.sql };
    });
    const comparisons = await Promise.all(
      others.map(({ database, ...statements }) => executor.compare(database, statements)),
    );
    const matches = comparisons.filter((comparison) => "isMatch" in comparison && comparison.isMatch).length;
    // What test-suite-sql-eval's result_eq gives for the same pairs, run by Python's sqlite3.
    expect(matches).toBe(28);
  });
});
