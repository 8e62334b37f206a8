/** What a model may come up with. Each statement ends by its deadline with the right outcome and leaves no trace. */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "libsql";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createSqlExecutor, type SqlExecutor, type SqlOutcome } from "./index.js";

const DEADLINE_MS = 300;
/** A deadline is kept to within the time that other programs on the machine take away. */
const GRACE_MS = 2500;

const directory = mkdtempSync(join(tmpdir(), "hone-hostile-"));
const fileOf = (name: string): string => join(directory, `${name}.sqlite`);
const target = join(directory, "loot");
let executor: SqlExecutor;
let hash: string;

const hashOf = (name: string): string =>
  createHash("sha256")
    .update(readFileSync(fileOf(name)))
    .digest("hex");

beforeAll(() => {
  const database = new Sqlite(fileOf("music"));
  database.exec(`
    CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, country TEXT);
    INSERT INTO singer VALUES (1, 'Ana', 31, 'France'), (2, 'Bo', 25, 'Japan'), (3, 'Cy', 40, NULL);
    CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) INSERT INTO note SELECT i, 'note ' || i FROM n;
    CREATE TABLE latin (name TEXT);
    INSERT INTO latin VALUES (CAST(x'4DFC6C6C6572' AS TEXT));
  `);
  database.close();
  hash = hashOf("music");
  executor = createSqlExecutor({
    databases: fileOf,
    workers: 2,
    deadlineMs: DEADLINE_MS,
    maxRows: 10_000,
    maxBytes: 2 ** 20,
  });
});

afterEach(() => {
  expect(hashOf("music")).toBe(hash);
  expect(existsSync(target)).toBe(false);
});

afterAll(async () => {
  await executor.close();
  rmSync(directory, { recursive: true, force: true });
});

const nested = (open: string, inner: string, close: string, depth: number): string =>
  open.repeat(depth) + inner + close.repeat(depth);
const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

type Kind = SqlOutcome["kind"];
const cases: readonly (readonly [why: string, sql: string, kind: Kind | readonly Kind[]])[] = [
  // Writing
  ["inserts", "INSERT INTO singer VALUES (9, 'x', 1, 'y')", "denied"],
  ["inserts and returns", "INSERT INTO singer(id) VALUES (9) RETURNING id", "denied"],
  ["updates", "UPDATE singer SET age = 0", "denied"],
  ["deletes", "DELETE FROM singer", "denied"],
  ["replaces", "REPLACE INTO singer VALUES (1, 'x', 1, 'y')", "denied"],
  ["creates a table", "CREATE TABLE loot (x)", "denied"],
  ["creates a temporary table", "CREATE TEMP TABLE loot (x)", "denied"],
  ["creates a view", "CREATE VIEW loot AS SELECT 1", "denied"],
  ["creates a trigger", "CREATE TRIGGER t AFTER INSERT ON singer BEGIN DELETE FROM singer; END", "denied"],
  ["creates a virtual table", "CREATE VIRTUAL TABLE loot USING fts5(x)", "denied"],
  ["drops", "DROP TABLE singer", "denied"],
  ["alters", "ALTER TABLE singer ADD COLUMN loot", "denied"],
  ["inserts behind WITH", "WITH t AS (SELECT 1) INSERT INTO singer(id) SELECT 7", "denied"],
  ["deletes behind WITH", "WITH t(x) AS (SELECT (1)) DELETE FROM singer RETURNING id", "denied"],
  ["replaces behind WITH", "WITH t AS (SELECT 1) REPLACE INTO singer(id) SELECT 7", "denied"],
  ["vacuums", "VACUUM", "denied"],
  ["vacuums into a file", `VACUUM INTO '${target}'`, "denied"],
  ["reindexes", "REINDEX", "denied"],
  ["analyzes", "ANALYZE", "denied"],
  ["begins a transaction", "BEGIN EXCLUSIVE", "denied"],
  ["sets a savepoint", "SAVEPOINT s", "denied"],
  ["commits", "COMMIT", "denied"],
  // Reaching out
  ["attaches a file", `ATTACH '${target}' AS loot`, "denied"],
  ["detaches", "DETACH main", "denied"],
  ["asks for a pragma", "PRAGMA table_info(singer)", "denied"],
  ["sets a pragma", "PRAGMA query_only = 0", "denied"],
  ["lifts the memory limit", "PRAGMA hard_heap_limit = 0", "denied"],
  ["asks for a pragma as a table", "SELECT * FROM pragma_database_list", "denied"],
  ["asks for a pragma as a function", "SELECT * FROM pragma_table_info('singer')", "denied"],
  ["explains", "EXPLAIN SELECT 1", "denied"],
  ["loads an extension", "SELECT load_extension('/tmp/x.so')", "denied"],
  ["reads a file", "SELECT readfile('/etc/hostname')", "denied"],
  ["reads a file, quoted", "SELECT \"readfile\"('/etc/hostname')", "denied"],
  ["reads a file, in brackets", "SELECT [ReadFile] ('/etc/hostname')", "denied"],
  ["reads a file behind a comment", "SELECT readfile/* (1) */\n('/etc/hostname')", "denied"],
  ["reads a file behind a vertical tab", "SELECT readfile \v('/etc/hostname')", "denied"],
  ["writes a file behind a vertical tab", `SELECT writefile\n\v\t('${target}', 'x')`, "denied"],
  ["writes a file behind a byte order mark", `SELECT writefile \uFEFF('${target}', 'x')`, "denied"],
  ["begins with a vertical tab", "\vSELECT 1", "syntax_error"],
  ["hides a name behind what is no SQL", `SELECT writefile\u0001('${target}', 'x')`, "syntax_error"],
  ["writes a file", `SELECT writefile('${target}', 'x')`, "denied"],
  ["writes a file in a subquery", `SELECT 1 WHERE EXISTS (SELECT \`writefile\`('${target}', 'x'))`, "denied"],
  ["lists a directory", "SELECT name FROM fsdir('/etc')", "denied"],
  ["lists a directory, named by a string", "SELECT name FROM 'fsdir' WHERE path = '/etc'", "denied"],
  ["reads raw pages", "SELECT data FROM sqlite_dbpage", "denied"],
  ["reads page statistics", "SELECT * FROM dbstat", "denied"],
  ["asks for a tokenizer's address", "SELECT fts3_tokenizer('simple')", "denied"],
  ["configures encryption", "SELECT sqlite3mc_config('cipher', 'aes256cbc')", "denied"],
  ["calls what stock SQLite lacks", "SELECT replicate('x', 10)", "denied"],
  // Hiding
  ["hides a second statement", "SELECT 1; DROP TABLE singer", "denied"],
  ["hides one behind empty ones", "SELECT 1;;; SELECT 2", "denied"],
  ["hides one behind a line comment", "SELECT 1 -- ;\n; DELETE FROM singer", "denied"],
  ["hides one behind a block comment", "SELECT 1 /* ; -- */ ; DROP TABLE singer", "denied"],
  ["hides one behind NUL", "SELECT 1\0; DROP TABLE singer", "denied"],
  ["begins with a comment", "/* SELECT 1 */ DROP TABLE singer", "denied"],
  ["begins with a line comment", "-- SELECT 1\nDROP TABLE singer", "denied"],
  ["breaks out of a quote", "'; DROP TABLE singer; --", "syntax_error"],
  ["has parameters", "SELECT ?1, :name", "error"],
  // Not SQL
  ["is empty", "", "syntax_error"],
  ["is white space", " \n\t ", "syntax_error"],
  ["is a comment", "-- SELECT 1", "syntax_error"],
  ["is semicolons", ";;", "syntax_error"],
  ["is prose", "The answer is 42.", "syntax_error"],
  ["is cut off", "SELECT name FROM singer WHERE", "syntax_error"],
  ["is binary", "\u0001\uFFFD\uD800", "syntax_error"],
  ["is half a megabyte of words", "select ".repeat(75_000), "syntax_error"],
  // Never ending
  ["counts for ever", `${endless} SELECT count(*) FROM n`, "timeout"],
  ["searches for ever", `${endless} SELECT i FROM n WHERE i < 0`, "timeout"],
  ["joins for ever", "SELECT count(*) FROM note a, note b, note c", "timeout"],
  ["joins for ever, grouped", "SELECT a.id, count(*) FROM note a, note b, note c GROUP BY a.id", "timeout"],
  [
    "nests EXISTS for ever",
    "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM note a, note b, note c WHERE a.id + b.id + c.id < 0)",
    "timeout",
  ],
  [
    "sorts for ever",
    `${endless} SELECT i FROM (SELECT i FROM n LIMIT 900000000) ORDER BY -i`,
    ["timeout", "too_large"],
  ],
  [
    "numbers for ever",
    "SELECT sum(row_number() OVER (ORDER BY random())) FROM note a, note b, note c",
    ["timeout", "error"],
  ],
  [
    "matches patterns for ever",
    `${endless} SELECT count(*) FROM n WHERE i || printf('%.2000c', 'a') LIKE '${"%a".repeat(500)}b'`,
    "timeout",
  ],
  [
    "globs for ever",
    `${endless} SELECT count(*) FROM n WHERE i || printf('%.2000c', 'a') GLOB '${"*a".repeat(500)}b'`,
    "timeout",
  ],
  // Too much
  ["returns rows for ever", `${endless} SELECT i FROM n`, "too_large"],
  ["returns a product", "SELECT * FROM note a, note b", "too_large"],
  ["makes a long string", "SELECT printf('%.1000000000c', 'x')", "too_large"],
  ["makes a long blob", "SELECT zeroblob(900000000)", "too_large"],
  ["makes a blob beyond the limit", "SELECT zeroblob(9000000000)", "too_large"],
  ["makes long hexadecimals", "SELECT length(hex(zeroblob(400000000)))", "too_large"],
  ["makes a random blob", "SELECT length(randomblob(800000000))", "too_large"],
  [
    "doubles by replacing",
    `SELECT length(${nested("replace(", "'aaaaaaaaaa'", ", 'a', 'aaaaaaaaaa')", 9)})`,
    ["too_large", "timeout"],
  ],
  ["returns large rows for ever", `${endless} SELECT zeroblob(2000000) FROM n`, ["too_large", "timeout"]],
  [
    "collects for ever",
    "SELECT length(group_concat(a.text || b.text || c.text)) FROM note a, note b, note c",
    ["timeout", "too_large"],
  ],
  // Deep
  ["nests parentheses", `SELECT ${nested("(", "1", ")", 5000)}`, "syntax_error"],
  ["nests subqueries", nested("SELECT * FROM (", "SELECT 1", ")", 400), "syntax_error"],
  ["nests functions", `SELECT ${nested("abs(", "1", ")", 3000)}`, "syntax_error"],
  ["chains AND", `SELECT 1 WHERE ${"1 = 1 AND ".repeat(20_000)} 1`, "error"],
  ["chains UNION", `SELECT 1${" UNION SELECT 1".repeat(5000)}`, "error"],
  ["chains NOT", `SELECT ${"NOT ".repeat(3000)} 1`, ["error", "syntax_error"]],
  ["nests JSON", `SELECT json('${nested("[", "1", "]", 5000)}')`, "error"],
  ["has too many columns", `SELECT ${Array.from({ length: 2500 }, (_, i) => i).join()}`, "error"],
  [
    "joins too many tables",
    `SELECT 1 FROM ${Array.from({ length: 80 }, (_, i) => `singer s${i}`).join()}`,
    "error",
  ],
  ["has a pattern too long", `SELECT 'a' LIKE '${"%a".repeat(30_000)}'`, "error"],
  // Plain mistakes
  ["names no table", "SELECT * FROM singers", "no_such_table"],
  ["names no column", "SELECT nome FROM singer", "no_such_column"],
  ["names no column of a table", 'SELECT singer."nome" FROM singer', "no_such_column"],
  ["names no function", "SELECT average(age) FROM singer", "error"],
  ["names a column of two tables", "SELECT name FROM singer a JOIN singer b", "error"],
  ["overflows", "SELECT abs(-9223372036854775808)", "error"],
  ["misuses an aggregate", "SELECT name FROM singer WHERE count(*) > 1", "error"],
  // Strange but innocent
  ["finds nothing", "SELECT name FROM singer WHERE age > 99", "empty"],
  ["divides by zero", "SELECT 1 / 0", "rows"],
  ["quotes a semicolon", "SELECT '; DROP TABLE singer; --'", "rows"],
  ["mentions a forbidden word", "SELECT 'readfile' AS \"delete\" /* drop */ -- pragma", "rows"],
  ["ends with a semicolon and a comment", "SELECT 1; -- done", "rows"],
  ["leaves a comment open", "SELECT 1 /* and so", "rows"],
  ["has VALUES alone", "VALUES (1, 'a'), (2, 'b')", "rows"],
  ["counts to five", `${endless} SELECT i FROM n LIMIT 5`, "rows"],
  ["calls a table replace", "WITH replace AS (SELECT 1) SELECT * FROM replace", "rows"],
  [
    "has a long list",
    `SELECT name FROM singer WHERE id IN (${Array.from({ length: 20_000 }, (_, i) => i).join()})`,
    "rows",
  ],
  ["reads the schema", "SELECT name FROM sqlite_master", "rows"],
];

describe("a hostile statement", () => {
  it.each(cases)("that %s", { timeout: 20_000 }, async (_why, sql, kind) => {
    const startedMs = performance.now();
    const outcome = await executor.execute("music", sql);
    expect(performance.now() - startedMs).toBeLessThan(DEADLINE_MS + GRACE_MS);
    expect(typeof kind === "string" ? [kind] : kind).toContain(outcome.kind);
    const after = await executor.execute("music", "SELECT count(*) FROM singer");
    expect(after).toMatchObject({ kind: "rows", rows: [[3]] });
  });

  it.each([
    ["cast to text", "SELECT CAST(x'FF41FE42' AS TEXT)", "AB"],
    ["stored as text", "SELECT name FROM latin", "Mller"],
    ["a surrogate", "SELECT 'a' || char(55296) || 'b'", "ab"],
    ["a truncated sequence", "SELECT CAST(x'41F09F98' AS TEXT)", "A"],
  ])("with text that is not UTF-8, %s, gives the rest of the text", async (_why, sql, text) => {
    expect(await executor.execute("music", sql)).toMatchObject({ kind: "rows", rows: [[text]] });
  });

  it.runIf(process.platform === "linux")("that takes all memory is ended before it has it", async () => {
    const small = createSqlExecutor({
      ...{ databases: fileOf, workers: 1, deadlineMs: 60_000 },
      ...{ maxBytes: 2 ** 40, memoryLimitBytes: 250 * 2 ** 20 },
    });
    const outcome = await small.execute("music", `${endless} SELECT zeroblob(5000000) FROM n`);
    await small.close();
    expect(outcome).toEqual({
      kind: "too_large",
      message: expect.stringMatching(/^the statement's process used \d+ MiB, more than 250, twice$/),
    });
  });

  it("in a batch with others costs them nothing", async () => {
    const statements = Array.from({ length: 300 }, (_, i) =>
      i % 100 === 50
        ? `${endless} SELECT max(i) FROM n`
        : i % 100 === 70
          ? "SELECT CAST(x'FF' AS TEXT)"
          : `SELECT ${i}`,
    );
    const outcomes = await Promise.all(statements.map((sql) => executor.execute("music", sql)));
    for (const [i, outcome] of outcomes.entries()) {
      if (i % 100 === 50) expect(outcome.kind).toBe("timeout");
      else expect(outcome).toMatchObject({ kind: "rows", rows: [[i % 100 === 70 ? "" : i]] });
    }
  });

  it("of a comparison is no match, and its gold result is still told", async () => {
    const gold = "SELECT count(*) FROM singer";
    expect(await executor.compare("music", { gold, predicted: `${endless} SELECT max(i) FROM n` })).toEqual({
      kind: "compared",
      isMatch: false,
      predicted: { kind: "timeout", message: `the statement ran longer than ${DEADLINE_MS} ms` },
      gold: { kind: "rows", columns: ["count(*)"], rows: [[3]], rowCount: 1 },
      executions: 2,
    });
    const denied = await executor.compare("music", { gold, predicted: "DROP TABLE singer" });
    expect(denied).toMatchObject({ isMatch: false, predicted: { kind: "denied" } });
  });
});

describe("a broken grader is invalid, never wrong:", () => {
  const good = { gold: "SELECT count(*) FROM singer", predicted: "SELECT count(*) FROM singer" };

  const expectInvalid = async (database: string, message: RegExp): Promise<void> => {
    const compared = await executor.compare(database, good);
    const executed = await executor.execute(database, good.predicted);
    for (const outcome of [compared, executed])
      expect(outcome).toEqual({ kind: "invalid", message: expect.stringMatching(message) });
  };

  it("a missing database, which is not made", async () => {
    await expectInvalid(
      "missing",
      /^Cannot open database .*missing\.sqlite: there is no such file, expected a SQLite file$/,
    );
    expect(readdirSync(directory).filter((name) => name.startsWith("missing"))).toEqual([]);
  });

  it("a directory in its place", async () => {
    mkdirSync(fileOf("folder"));
    await expectInvalid("folder", /: it is not a file, expected a SQLite file$/);
  });

  it("an empty file", async () => {
    writeFileSync(fileOf("nothing"), "");
    await expectInvalid("nothing", /: it has 0 bytes, expected a SQLite file of at least 100$/);
  });

  it("a file that is no database", async () => {
    writeFileSync(fileOf("prose"), "All work and no play makes Jack a dull boy. ".repeat(100));
    await expectInvalid(
      "prose",
      /: file is not a database, expected a SQLite file that no other program has locked$/,
    );
  });

  it("a corrupt database", async () => {
    const bytes = readFileSync(fileOf("music"));
    bytes.fill(0xa5, 4096, bytes.length - 4096); // all pages but the schema's
    writeFileSync(fileOf("corrupt"), bytes);
    await expectInvalid("corrupt", /database disk image is malformed/);
  });

  it("a cut-off database", async () => {
    writeFileSync(fileOf("short"), readFileSync(fileOf("music")).subarray(0, 6000));
    await expectInvalid("short", /malformed|disk I\/O error/);
  });

  it("a locked database, until it is free again", async () => {
    writeFileSync(fileOf("locked"), readFileSync(fileOf("music")));
    const other = new Sqlite(fileOf("locked"));
    other.exec("BEGIN EXCLUSIVE");
    await expectInvalid("locked", /database is locked/);
    other.exec("COMMIT");
    expect(await executor.compare("locked", good)).toMatchObject({ kind: "compared", isMatch: true });
    // And with the connection open already.
    other.exec("BEGIN EXCLUSIVE");
    await expectInvalid("locked", /database is locked/);
    other.exec("COMMIT");
    other.close();
  });

  it.each([
    [
      "fails",
      "SELECT nome FROM singer",
      /^the gold statement fails \(no_such_column: no such column: nome\)/,
    ],
    ["is denied", "DELETE FROM singer", /^the gold statement fails \(denied: /],
    [
      "never ends",
      `${endless} SELECT max(i) FROM n`,
      /^the gold statement did not end \(timeout\): ran longer than 300 ms$/,
    ],
  ])("a gold statement that %s", async (_why, gold, message) => {
    expect(await executor.compare("music", { gold, predicted: "SELECT 1" })).toEqual({
      kind: "invalid",
      message: expect.stringMatching(message),
    });
  });

  it("processes that cannot start", async () => {
    // A heap of half a megabyte is none.
    const broken = createSqlExecutor({ databases: fileOf, workers: 1, memoryLimitBytes: 2 ** 20 });
    const outcome = await broken.compare("music", good);
    await broken.close();
    expect(outcome).toEqual({
      kind: "invalid",
      message: expect.stringMatching(/^the grader failed \(error\): Cannot go on with a pool of /),
    });
  });

  it("a database that was replaced is read anew", async () => {
    writeFileSync(fileOf("changing"), readFileSync(fileOf("music")));
    expect(await executor.compare("changing", good)).toMatchObject({ gold: { rows: [[3]] } });
    const other = new Sqlite(fileOf("changing"));
    other.exec("DELETE FROM singer WHERE id = 3");
    other.close();
    expect(await executor.compare("changing", good)).toMatchObject({ isMatch: true, gold: { rows: [[2]] } });
  });
});
