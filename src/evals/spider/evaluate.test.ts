import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import Sqlite from "libsql";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createSqlExecutor,
  loadSpider,
  readSqliteSchema,
  type SqlDatabase,
  type SqlExecutor,
  type TextToSqlExample,
} from "../../envs/index.js";
import { writeSpiderReport } from "../report/write-report.js";
import { evaluateSpider } from "./evaluate.js";

const folder = mkdtempSync(join(tmpdir(), "hone-evals-"));
const path = join(folder, "shop.sqlite");
let databases: ReadonlyMap<string, SqlDatabase>;
let executor: SqlExecutor;
beforeAll(() => {
  const file = new Sqlite(path);
  file.exec(
    "CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT); CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), total INTEGER); INSERT INTO customer VALUES (1, 'Ann', 'Oslo'), (2, 'Bob', 'Rome'), (3, 'Cid', 'Rome'); INSERT INTO orders VALUES (1, 1, 5), (2, 1, 7), (3, 2, 9)",
  );
  file.close();
  databases = new Map([["shop", { name: "shop", path, schema: readSqliteSchema(path, "shop") }]]);
  executor = createSqlExecutor({ databases: () => path, workers: 1, deadlineMs: 400 });
});
afterAll(async () => {
  await executor.close();
  rmSync(folder, { recursive: true });
});

const GOLD = {
  city: "SELECT name FROM customer WHERE city = 'Rome'",
  group: "SELECT city, count(*) FROM customer GROUP BY city",
  order: "SELECT name FROM customer ORDER BY id DESC LIMIT 2",
  join: "SELECT T1.name FROM customer AS T1 JOIN orders AS T2 ON T1.id = T2.customer_id WHERE T2.total > 6",
};

async function evaluated(pairs: readonly (readonly [gold: string, predicted: string])[], model = "model") {
  const examples: TextToSqlExample[] = pairs.map(([sql], i) => ({
    id: `q${i}`,
    question: `question ${i}`,
    sql,
    database: "shop",
    tags: { hardness: "easy" },
  }));
  const predictions = new Map(pairs.map(([, predicted], i) => [`q${i}`, predicted]));
  return evaluateSpider({ model, examples, predictions, databases, executor });
}

it.each([
  [
    "timeout",
    GOLD.city,
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "the statement",
  ],
  ["syntax", GOLD.city, "SELECT name FRM customer", "near"],
  ["syntax", GOLD.city, "", ""],
  ["syntax", GOLD.city, "DELETE FROM customer", ""],
  ["wrong_table", GOLD.city, "SELECT name FROM client", "no such table: client"],
  ["wrong_table", GOLD.city, "SELECT id FROM orders", "missing customer; instead or besides orders"],
  ["wrong_column", GOLD.city, "SELECT nme FROM customer WHERE city = 'Rome'", "no such column: nme"],
  [
    "wrong_column",
    GOLD.city,
    "SELECT id FROM customer WHERE city = 'Rome'",
    "missing customer.name; instead or besides customer.id",
  ],
  ["empty", GOLD.city, "SELECT name FROM customer WHERE city = 'Paris'", "no rows, gold has 2"],
  [
    "wrong_aggregate",
    GOLD.group,
    "SELECT city, max(city) FROM customer GROUP BY city",
    "missing count(*); instead or besides max(customer.city)",
  ],
  [
    "wrong_condition",
    GOLD.city,
    "SELECT name FROM customer WHERE city = 'Oslo'",
    "missing where customer.city = Rome; instead or besides where customer.city = Oslo",
  ],
  ["wrong_grouping", GOLD.group, "SELECT city, count(*) FROM customer", "missing customer.city"],
  [
    "wrong_order",
    GOLD.order,
    "SELECT name FROM customer ORDER BY id DESC LIMIT 1",
    "missing limit 2; instead or besides limit 1",
  ],
  [
    "wrong_order",
    GOLD.order,
    "SELECT name FROM customer ORDER BY id ASC LIMIT 2",
    "missing order by customer.id desc; instead or besides order by customer.id asc",
  ],
  [
    "wrong_nesting",
    "SELECT id FROM customer UNION SELECT id FROM customer",
    "SELECT id FROM customer EXCEPT SELECT id FROM customer WHERE id = 1",
    "missing union; instead or besides except, where customer.id = 1",
  ],
  ["other", GOLD.city, "SELECT name || '!' FROM customer WHERE city = 'Rome'", "outside Spider's grammar"],
  [
    "wrong_condition",
    GOLD.join,
    GOLD.join.replace("6", "8"),
    "missing where orders.total > 6; instead or besides where orders.total > 8",
  ],
])("evaluateSpider() finds %s in a wrong answer to %s: %s", async (kind, gold, predicted, evidence) => {
  const { items, errors } = await evaluated([[gold, predicted]]);
  expect(items[0]).toMatchObject({ isExecutionMatch: false, error: { class: kind } });
  expect(items[0]?.error?.evidence).toContain(evidence);
  expect(errors[kind as keyof typeof errors]).toBe(1);
});

it("evaluateSpider() counts by hardness, execution apart from structure", async () => {
  const { levels } = await evaluated([
    // Another query with the same result, and the same structure with another result.
    [GOLD.city, "SELECT name FROM customer WHERE id > 1"],
    [GOLD.city, "SELECT name FROM customer WHERE city = 'Oslo'"],
    [GOLD.group, GOLD.group],
  ]);
  expect(levels.easy.execution).toMatchObject({ correct: 1, count: 2 });
  expect(levels.easy.exact).toMatchObject({ correct: 1, count: 2 });
  expect(levels.medium.execution).toMatchObject({ correct: 1, count: 1 });
  expect(levels.hard.execution).toMatchObject({ correct: 0, count: 0 });
  expect(levels.all.execution).toMatchObject({ correct: 2, count: 3 });
  // WHERE is in two predictions, one of them right; GROUP BY in one.
  expect(levels.all.components.where).toEqual({ accuracy: 0.5, recall: 0.5, f1: 0.5 });
  expect(levels.all.components.group).toEqual({ accuracy: 1, recall: 1, f1: 1 });
});

it("evaluateSpider() compares structure as far as the query goes, and tells errors from all of the answer", async () => {
  const { items } = await evaluated([[GOLD.order, `${GOLD.order} OFFSET 1`]]);
  expect(items[0]).toMatchObject({
    isExecutionMatch: false,
    isExactMatch: true,
    error: {
      class: "other",
      evidence: 'outside Spider\'s grammar: found "offset", expected the end of the query',
    },
  });
});

it("evaluateSpider() leaves broken comparisons out, and stops when there are many", async () => {
  const example = {
    id: "q",
    question: "?",
    sql: GOLD.city,
    database: "shop",
    tags: { hardness: "easy" as const },
  };
  const broken = { compare: async () => ({ kind: "invalid" as const, message: "disk gone" }) };
  const evaluation = { model: "m", examples: [example], predictions: new Map([["q", GOLD.city]]), databases };
  await expect(evaluateSpider({ ...evaluation, executor: broken })).rejects.toThrow(
    'Cannot evaluate "m": 1 of 1 comparisons failed, expected at most 1 %. The first: disk gone',
  );
  const report = await evaluateSpider({ ...evaluation, executor: broken, maxInvalidFraction: 1 });
  expect(report.invalid).toBe(1);
  expect(report.levels.all.execution.count).toBe(0);
  await expect(evaluateSpider({ ...evaluation, predictions: new Map(), executor: broken })).rejects.toThrow(
    'example "q" has no prediction',
  );
});

it("evaluateSpider() compares nothing more once an example cannot be evaluated", async () => {
  const examples = Array.from({ length: 200 }, (_, i) => ({
    ...{ id: `q${i}`, question: "?", sql: GOLD.city, database: "shop" },
    tags: { hardness: "easy" as const },
  }));
  const predictions = new Map(examples.slice(1).map(({ id }) => [id, GOLD.city]));
  let compared = 0;
  const executor = {
    compare: async () => {
      compared++;
      return { kind: "invalid" as const, message: "slow" };
    },
  };
  const evaluation = { model: "m", examples, predictions, databases, executor, concurrency: 4 };
  await expect(evaluateSpider(evaluation)).rejects.toThrow('example "q0" has no prediction');
  await new Promise((resolve) => setImmediate(resolve)); // whatever went on would be through by now
  expect(compared).toBeLessThanOrEqual(3);
});

it("writeSpiderReport() writes JSON, Markdown and one HTML file that runs and loads nothing", async () => {
  const nasty = "<script>alert(1)</script> | `x`";
  const before = await evaluated(
    [
      [GOLD.city, nasty],
      [GOLD.group, "SELECT 1"],
      [GOLD.order, GOLD.order],
    ],
    "sft",
  );
  const after = await evaluated(
    [
      [GOLD.city, GOLD.city],
      [GOLD.group, "SELECT 1"],
      [GOLD.order, GOLD.order],
    ],
    "grpo",
  );
  const paths = await writeSpiderReport(join(folder, "report"), [before, after], { notes: ["a & b"] });
  const [json, markdown, html] = [paths.json, paths.markdown, paths.html].map((file) =>
    readFileSync(file, "utf8"),
  ) as [string, string, string];
  // One of three more: resampled means are 0, 1/3, 2/3 or 1, with P(0) = 8/27.
  expect(JSON.parse(json)).toMatchObject({
    differences: [
      {
        model: "grpo",
        baseline: "sft",
        gained: ["q0"],
        lost: [],
        execution: { all: { low: 0, high: 1, wins: 1, losses: 0 } },
      },
    ],
  });
  expect(markdown).toContain("| sft | 0.0 [0.0, 79.3] |");
  expect(markdown).toContain("| grpo − sft | +100.0 [+100.0, +100.0] |");
  // Only inside a fence may a model's text stand as it is.
  expect(markdown.replace(/```sql\n[\s\S]*?\n```/g, "")).not.toContain("<");
  expect(markdown).toContain('near "&lt;": syntax error');
  expect(html).not.toMatch(/<script|<link|<img|@import|url\(|src=/i);
  expect(html.match(/<svg/g)).toHaveLength(2);
  expect(html).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
  expect(html).toContain("a &amp; b");
  await expect(
    writeSpiderReport(join(folder, "report"), [before, { ...after, items: after.items.slice(1) }]),
  ).rejects.toThrow('Cannot compare "grpo" with "sft": they answered different examples');
});

const spiderFolder = resolve(
  process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../../shared/data"),
  "spider",
);
const hasSpider = existsSync(spiderFolder);

describe.skipIf(!hasSpider)(
  `on Spider's development set${hasSpider ? "" : ` (skipped: ${spiderFolder} is absent)`}`,
  () => {
    it("evaluateSpider() gives gold 1034 of 1034 in execution and exact match", {
      timeout: 120_000,
    }, async () => {
      const spider = loadSpider(spiderFolder);
      const own = createSqlExecutor({
        databases: (name) => spider.databases.get(name)!.path,
        deadlineMs: 10_000,
      });
      try {
        const predictions = new Map(spider.dev.map(({ id, sql }) => [id, sql]));
        const report = await evaluateSpider({
          model: "gold",
          examples: spider.dev,
          predictions,
          databases: spider.databases,
          executor: own,
        });
        expect(report.levels.all.execution).toMatchObject({ correct: 1034, count: 1034 });
        expect(report.levels.all.exact).toMatchObject({ correct: 1034, count: 1034 });
        const { easy, medium, hard, extra } = report.levels;
        expect([easy, medium, hard, extra].map(({ exact }) => exact.count)).toEqual([248, 446, 174, 166]);
      } finally {
        await own.close();
      }
    });
  },
);
