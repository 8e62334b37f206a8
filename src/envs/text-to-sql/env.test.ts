/** The environment on two small databases made here: the battery on each prompt, and every way to be wrong. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import Sqlite from "libsql";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserError } from "../../base/index.js";
import type { RewardOutcome } from "../../rewards/index.js";
import type { EnvSet, StepResult } from "../env.js";
import { describeEnv } from "../env-battery.js";
import type { TextToSqlConfigInput } from "./config.js";
import { loadDatabases, type SqlDatabase, type TextToSqlExample } from "./data/index.js";
import { createTextToSql, openTextToSql } from "./env.js";
import { createSqlExecutor, type SqlExecutor } from "./sql/index.js";

const folder = mkdtempSync(join(tmpdir(), "hone-text-to-sql-"));
let databases: ReadonlyMap<string, SqlDatabase>;
let executor: SqlExecutor;

function makeDatabase(name: string, sql: string): void {
  const path = join(folder, "database", name, `${name}.sqlite`);
  mkdirSync(dirname(path), { recursive: true });
  const file = new Sqlite(path);
  file.exec(sql);
  file.close();
}

beforeAll(() => {
  makeDatabase(
    "pets",
    `CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
     CREATE TABLE pet (id INTEGER PRIMARY KEY, owner_id INTEGER REFERENCES owner(id), kind TEXT, age INTEGER);
     INSERT INTO owner VALUES (1, 'Ann', 'Paris'), (2, 'Bob', 'Rome'), (3, 'Cy', 'Paris');
     INSERT INTO pet VALUES (1, 1, 'dog', 3), (2, 1, 'cat', 5), (3, 2, 'dog', 9), (4, 3, 'dog', 3);`,
  );
  makeDatabase(
    "shop",
    `CREATE TABLE "order item" (id INTEGER, "unit price" REAL); INSERT INTO "order item" VALUES (1, 2.5), (2, 4)`,
  );
  makeDatabase("broken", "CREATE TABLE t (a)");
  databases = loadDatabases(folder);
  writeFileSync(join(folder, "database", "broken", "broken.sqlite"), "this is no database".repeat(100));
  executor = createSqlExecutor({
    databases: (name) => databases.get(name)!.path,
    workers: 2,
    deadlineMs: 1500,
  });
});
afterAll(async () => {
  await executor.close();
  rmSync(folder, { recursive: true });
});

const EXAMPLES: readonly TextToSqlExample[] = [
  {
    id: "dogs",
    question: "How many dogs are older than 4?",
    sql: "SELECT count(*) FROM pet AS T1 WHERE T1.kind = 'dog' AND T1.age > 4",
    database: "pets",
    tags: { hardness: "medium" },
  },
  {
    id: "owners",
    question: "Which owners in Paris have a pet, by name?",
    sql: "SELECT DISTINCT T1.name FROM owner AS T1 JOIN pet AS T2 ON T1.id = T2.owner_id WHERE T1.city = 'Paris' ORDER BY T1.name",
    database: "pets",
    tags: { hardness: "medium" },
  },
  {
    id: "price",
    question: "What is the highest unit price?",
    sql: 'SELECT max("unit price") FROM "order item"',
    database: "shop",
    tags: { hardness: "easy" },
  },
];

function open(config: Omit<TextToSqlConfigInput, "data"> = {}, examples = EXAMPLES): EnvSet {
  return createTextToSql(config, { examples, databases, executor });
}

/** Says `texts` to the task called `id`, one per turn. */
async function say(set: EnvSet, id: string, ...texts: readonly string[]): Promise<StepResult[]> {
  const task = set.tasks.find((one) => one.id === id)!;
  const env = await set.create(task, 1);
  await env.initialObservation();
  const results: StepResult[] = [];
  for (const text of texts)
    results.push(await env.step({ text, stopReason: "stop", tokenCount: text.length }));
  await env.close?.();
  return results;
}

async function promptOf(set: EnvSet, id: string): Promise<string> {
  const env = await set.create(set.tasks.find((task) => task.id === id)!, 1);
  return (await env.initialObservation()).messages.map(({ content }) => content).join("\n");
}

const fenced = (sql: string): string => `\`\`\`sql\n${sql}\n\`\`\``;
const earned = (reward: RewardOutcome): number => {
  if (reward.kind === "invalid") throw new Error(reward.reason);
  return reward.value;
};
const partOf = (reward: RewardOutcome, name: string) =>
  reward.kind === "invalid" ? undefined : reward.components.find((one) => one.name === name);

describe("a schema prompt, all components weighed, with corrections", () => {
  const weights = { execution: 1, partial: 0.3, format: 0.1, length: 0.07 };
  describeEnv(() => open({ weights, corrections: 2, correctionDiscount: 0.5 }), { it });
});
describe("a schema prompt with bare answers", () => {
  describeEnv(() => open({ answer: "bare" }), { it });
});
describe("a compact prompt", () => {
  describeEnv(
    () => open({ prompt: "compact", weights: { execution: 1, partial: 1, length: 1, format: 1 } }),
    {
      it,
    },
  );
});
describe("a compact prompt with tables and without slots", () => {
  describeEnv(() => open({ prompt: "compact", listTables: true, linkValues: false }), { it });
});

describe("prompts", () => {
  it("show keys, types, example rows and the cells that the question names, and not the query", async () => {
    const prompt = await promptOf(open(), "owners");
    expect(prompt).toContain(
      [
        "create table pet (",
        "  id number primary key,",
        "  owner_id number,",
        "  kind text,",
        "  age number,",
        "  foreign key (owner_id) references owner(id)",
        ")",
        "-- 1 | 1 | dog | 3",
        "-- 2 | 1 | cat | 5",
      ].join("\n"),
    );
    expect(prompt).toContain("Cells that the question may mean:\n'Paris' is in owner.city");
    expect(prompt).toContain("Question: Which owners in Paris have a pet, by name?");
    expect(prompt).not.toMatch(/T1|distinct|order by/i);
    expect(await promptOf(open(), "price")).toContain(
      'create table "order item" (\n  id number,\n  "unit price"',
    );
  });

  it("leave out what is not asked for", async () => {
    const prompt = await promptOf(open({ sampleRows: 0, linkValues: false }), "owners");
    expect(prompt).not.toContain("--");
    expect(prompt).not.toContain("Cells");
  });

  it("are short where they are compact, with slots for values", async () => {
    expect(await promptOf(open({ prompt: "compact" }), "dogs")).toBe(
      "db : pets | how many dogs are older than value_0 ? =>",
    );
    const set = open({ prompt: "compact" });
    const [gold] = set.goldActions(set.tasks[0]!);
    expect(gold).toMatch(/^ select count .* > value_0$/);
  });
});

describe("rewards", () => {
  it.each([
    ["another spelling of the gold query", "select count(id) from pet where age > 4 and kind = 'dog'", 1],
    ["a closing semicolon", "SELECT 1;", 1],
    ["the right number by chance", "SELECT 1", 1],
    ["a wrong condition", "SELECT count(*) FROM pet WHERE kind = 'dog' AND age > 2", 0],
    ["another column beside", "SELECT count(*), 1 FROM pet WHERE kind = 'dog' AND age > 4", 0],
    ["a table that is not there", "SELECT count(*) FROM dogs", 0],
    ["nothing like SQL", "there is one dog", 0],
    ["a write", "DELETE FROM pet", 0],
    ["two statements, the first right", "SELECT 1; SELECT 2", 0],
    [
      "a query without end",
      "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x FROM r) SELECT count(*) FROM r",
      0,
    ],
  ])("%s: %s", async (_, sql, expected) => {
    const [result] = await say(open(), "dogs", fenced(sql));
    expect(earned(result!.reward)).toBe(expected);
    expect(result!.observation).toBeNull();
    expect(result!.metrics["correct"]).toBe(expected);
  });

  it("heed order only where the gold query does", async () => {
    const [backwards] = await say(
      open(),
      "owners",
      fenced("SELECT name FROM owner WHERE city = 'Paris' ORDER BY name DESC"),
    );
    expect(earned(backwards!.reward)).toBe(0);
    expect(partOf(backwards!.reward, "execution")?.evidence).toBe(
      'gives 2 rows ("Cy") ("Ann"), expected 2 rows ("Ann") ("Cy")',
    );
  });

  it("name the error of a statement that fails", async () => {
    const [result] = await say(open(), "dogs", fenced("SELECT count(*) FROM pet WHERE knd = 'dog'"));
    expect(partOf(result!.reward, "execution")?.evidence).toBe("no such column: knd (no_such_column)");
    expect(result!.metrics).toEqual({ correct: 0, executed: 0, empty: 0, timeout: 0, well_formed: 1 });
  });

  it("give nothing for an answer that is cut off, even where what stands there is right", async () => {
    const set = open({ weights: { execution: 1, partial: 1, format: 1, length: 1 } });
    const env = await set.create(set.tasks[0]!, 1);
    const text = fenced("SELECT 1");
    const { reward } = await env.step({ text, stopReason: "length", tokenCount: 9 });
    expect(earned(reward)).toBe(0);
    expect(partOf(reward, "execution")?.evidence).toBe("cut off at the token limit");
  });

  it("grade the first of several fences, and the form as wrong", async () => {
    const set = open({ weights: { execution: 1, format: 1 } });
    const shotgun = `${fenced("SELECT 7")}\n${fenced("SELECT 1")}`;
    const [result] = await say(set, "dogs", shotgun);
    expect(earned(result!.reward)).toBe(0);
    const [unfenced] = await say(set, "dogs", "SELECT 1");
    expect(earned(unfenced!.reward)).toBe(0.5);
    expect(partOf(unfenced!.reward, "format")?.evidence).toBe("there is no fence");
  });

  it("weigh partial credit by what is named, below a right answer however close", async () => {
    const set = open({ weights: { execution: 1, partial: 1 } });
    const close = "SELECT count(*) FROM pet WHERE kind = 'dog' AND age > 2";
    const [nearly, far, stuffed, words] = await Promise.all(
      [
        close,
        "SELECT name FROM owner",
        "SELECT id, owner_id, kind, age, name, city, count(*) FROM pet, owner WHERE 1 GROUP BY 1 HAVING 1 ORDER BY 1 LIMIT 0",
        "how many dogs",
      ].map(async (sql) => partOf((await say(set, "dogs", fenced(sql)))[0]!.reward, "partial")!),
    );
    expect(nearly!.score).toBe(0.9);
    // {table:owner, column:name, select, …}: SELECT alone of {pet, kind, age, select 1, count, where} is shared.
    expect(far!.score).toBeCloseTo(0.9 * ((2 * 1) / (3 + 6)), 12);
    expect(stuffed!.score).toBeLessThan(0.9 * 0.7);
    expect(words!.score).toBe(0);
  });

  it("mark a database that cannot be read as invalid, never as 0", async () => {
    const set = open({}, [{ ...EXAMPLES[0]!, id: "lost", database: "broken" }]);
    const env = await set.create(set.tasks[0]!, 1).catch((error: unknown) => error);
    // The prompt needs the file too; without example rows and cells only grading does.
    expect(env).not.toBeInstanceOf(Error);
    const [result] = await say(
      open({ sampleRows: 0, linkValues: false }, [{ ...EXAMPLES[0]!, id: "lost", database: "broken" }]),
      "lost",
      fenced("SELECT 1"),
    );
    expect(result!.reward).toMatchObject({ kind: "invalid", boundary: "sandbox" });
  });
});

describe("corrections", () => {
  const wrong = fenced("SELECT count(*) FROM dog");
  const right = fenced("SELECT 1");

  it("show the error and grade the answer after it, discounted", async () => {
    const set = open({ corrections: 1, correctionDiscount: 0.5 });
    const [first, second] = await say(set, "dogs", wrong, right);
    expect(earned(first!.reward)).toBe(0);
    expect(first!.observation?.messages).toEqual([
      {
        role: "user",
        content:
          "That statement fails: no such table: dog (no_such_table)\nAnswer once more, with one SELECT statement in one ```sql code block.",
      },
    ]);
    expect(earned(second!.reward)).toBe(0.5);
    expect(partOf(second!.reward, "execution")).toMatchObject({ score: 1, weight: 0.5 });
    expect(second!.observation).toBeNull();
    expect(second!.metrics).toMatchObject({ correct: 1, corrections: 1 });
  });

  it("end after as many as are allowed", async () => {
    const results = await say(open({ corrections: 2 }), "dogs", wrong, wrong, wrong);
    expect(results.map(({ observation }) => observation === null)).toEqual([false, false, true]);
  });

  it("are not offered for a statement that runs: its result would tell whether it is right", async () => {
    const [result] = await say(open({ corrections: 3 }), "dogs", fenced("SELECT 99"));
    expect(result!.observation).toBeNull();
  });
});

describe("createTextToSql()", () => {
  it("refuses questions without a database and weights that are all 0", () => {
    expect(() => open({}, [{ ...EXAMPLES[0]!, database: "zoo" }])).toThrow(
      'Cannot ask question "dogs": there is no database "zoo", expected one of broken, pets, shop',
    );
    expect(() => open({ weights: { execution: 0 } })).toThrow(UserError);
  });

  it("refuses settings that it does not know or cannot take, all in one message", () => {
    // @ts-expect-error: what plain JavaScript, or a file, may hand over
    expect(() => open({ corrections: 9, weights: { exekution: 1 } })).toThrow(
      new UserError(
        'Cannot open text-to-sql: unknown key "weights.exekution", expected one of execution, partial, format, length; corrections is 9, expected at most 8',
      ),
    );
    expect(() => openTextToSql({ data: "" }, "test")).toThrow(
      new UserError("Cannot open text-to-sql: data is empty text, expected at least 1 characters"),
    );
  });
});
