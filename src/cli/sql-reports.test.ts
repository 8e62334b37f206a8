/** What `hone evaluate` and the recipe's report step leave for people: real SQL, a real model with random weights. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "libsql";
import { afterAll, expect, it, vi } from "vitest";
import {
  createSqlExecutor,
  readSqliteSchema,
  type TextToSqlExample,
  writeOwnDatabases,
} from "../envs/index.js";
import { evaluateSpider } from "../evals/index.js";
import { evaluate } from "./commands/evaluate.js";
import { compareSqlAction } from "./recipe-actions/evaluate-sql.js";
import { recipeActions } from "./recipe-actions/index.js";

const folder = mkdtempSync(join(tmpdir(), "hone-reports-"));
afterAll(() => rmSync(folder, { recursive: true }));

const signal = new AbortController().signal;
const QUESTIONS: readonly (readonly [hardness: TextToSqlExample["tags"]["hardness"], sql: string])[] = [
  ["easy", "SELECT name FROM pet"],
  ["easy", "SELECT count(*) FROM pet WHERE age > 1"],
  ["medium", "SELECT name FROM pet ORDER BY age DESC LIMIT 1"],
  // Own data may ask what Spider's grammar does not know.
  ["unknown", "SELECT CASE WHEN age > 2 THEN 'old' ELSE 'young' END FROM pet"],
];

/** An evaluation of the four questions, saved as the step before the comparison saves it. */
async function save(model: string, predicted: readonly string[], fillings: boolean[][]): Promise<string> {
  const path = join(folder, "pets.sqlite");
  const file = new Sqlite(path);
  file.exec(
    "DROP TABLE IF EXISTS pet; CREATE TABLE pet (name TEXT, age INTEGER); INSERT INTO pet VALUES ('Ida', 1), ('Bo', 5), ('Cy', 3)",
  );
  file.close();
  const executor = createSqlExecutor({ databases: () => path, workers: 1 });
  try {
    const report = await evaluateSpider({
      model,
      examples: QUESTIONS.map(([hardness, sql], i) => ({
        ...{ id: `q${i}`, question: `question ${i}`, sql, database: "pets", tags: { hardness } },
      })),
      predictions: new Map(predicted.map((sql, i) => [`q${i}`, sql])),
      databases: new Map([["pets", { name: "pets", path, schema: readSqliteSchema(path, "pets") }]]),
      executor,
    });
    const saved = join(folder, `${model}.json`);
    writeFileSync(saved, JSON.stringify({ ...report, fillings }));
    return saved;
  } finally {
    await executor.close();
  }
}

it("the report step writes baseline against trained with hardness, errors, intervals and charts", async () => {
  const right = QUESTIONS.map(([, sql]) => sql);
  const before = await save(
    "SFT",
    [right[0]!, "SELECT", "SELECT name FROM cat", "SELECT name FROM pet"],
    [
      [true, false, false, false],
      [true, true, false, false],
    ],
  );
  const after = await save(
    "GRPO",
    [right[0]!, right[1]!, "SELECT name FROM cat", right[3]!],
    [
      [true, true, false, true],
      [true, true, false, false],
    ],
  );
  const directory = join(folder, "report");
  mkdirSync(directory);
  const said: string[] = [];
  const step = { directory, arguments: { before, after }, signal, say: (line: string) => said.push(line) };
  const outputs = await compareSqlAction.run(step);
  // One right of four, then three; on the fillings 1½ of four, then 2½.
  expect(outputs).toMatchObject({ gain: 0.5, freshGain: 0.25, report: join(directory, "report.md") });

  const [markdown, html, json] = ["report.md", "report.html", "report.json"].map((name) =>
    readFileSync(join(directory, name), "utf8"),
  ) as [string, string, string];
  expect(markdown).toMatch(/^# GRPO against SFT\n/);
  expect(markdown).toMatch(
    /\| held-out execution accuracy \| 25\.0 % \| 75\.0 % \| \+50\.0 \[\+0\.0, \+100\.0\] \| 2, 0 \|/,
  );
  expect(markdown).toMatch(/\| the same on freshly filled databases \| 37\.5 % \| 62\.5 % \| \+25\.0 \[/);
  expect(markdown).toContain(
    "| model | easy (2) | medium (1) | hard (0) | extra (0) | unknown (1) | all (4) |",
  );
  expect(markdown).toContain("| GRPO − SFT | +50.0 [+0.0, +100.0] | +0.0 [+0.0, +0.0] | – | – | +100.0 [");
  // Exact match looks past the question whose gold it cannot read: 1 and 2 of 3.
  expect(markdown).toMatch(
    /## Exact set match by hardness\n\n.*\n.*\n\| SFT \|.* 33\.3 \[[^|]*\|\n\| GRPO \|.* 66\.7 \[/,
  );
  expect(markdown).toMatch(/\| syntax \| [^|]+ \| 1 \| 0 \|/);
  expect(markdown).toMatch(/\| wrong\\_table \| [^|]+ \| 1 \| 1 \|/);
  expect(markdown).toContain("gold is outside Spider's grammar");
  expect(html.match(/<svg/g)).toHaveLength(2);
  expect(html).toContain("the same on freshly filled databases");
  expect(JSON.parse(json).differences[0]).toMatchObject({ gained: ["q1", "q3"], lost: [] });
  expect(said[1]).toContain("| +50.0 [+0.0, +100.0] |");
});

it("the report step names a file that is no evaluation, and evaluations of different questions", async () => {
  const before = await save(
    "first",
    QUESTIONS.map(([, sql]) => sql),
    [],
  );
  const after = join(folder, "other.json");
  const compare = (): Promise<unknown> =>
    Promise.resolve(
      compareSqlAction.run({ directory: folder, arguments: { before, after }, signal, say: () => {} }),
    );
  writeFileSync(after, '{"model": "x", "items": [{"id": 3}]}');
  await expect(compare()).rejects.toThrow(`Cannot read the evaluation ${after}: items.0.id: `);
  const { items, ...rest } = JSON.parse(readFileSync(before, "utf8"));
  writeFileSync(after, JSON.stringify({ ...rest, model: "x", items: items.slice(1) }));
  await expect(compare()).rejects.toThrow(
    'Cannot compare "x" with "first": they answered different examples',
  );
});

it("hone evaluate -o writes the report of both models as Markdown, HTML and JSON", async () => {
  const data = join(folder, "own");
  writeOwnDatabases(data, 1, { counts: { sft: 10, rl: 10, validation: 5, test: 6 }, fillings: 0 });
  const made = await recipeActions({ json: true })["small-model"]!.run({
    directory: join(folder),
    arguments: {
      ...{ model: "fresh", texts: [join(data, "sft.jsonl")], hidden: 16, layers: 1, heads: 2 },
      ...{ context: 256, seed: 0 },
    },
    signal,
    say: () => {},
  });
  const model = String(made["directory"]);
  const output = join(folder, "evaluation");
  const [before, after] = ["runs/sft-1/model", "runs/grpo-1/model"].map((name) => join(folder, name)) as [
    string,
    string,
  ];
  for (const copy of [before, after]) cpSync(model, copy, { recursive: true });
  const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  try {
    await evaluate(after, {
      ...{ data, split: "test", against: before, prompt: "compact", listTables: false, corrections: 0 },
      ...{ maxTokens: 6, output, threads: 1, json: true },
    });
    const lines = write.mock.calls.map(([text]) => String(text)).join("");
    expect(lines).toContain(`"markdown":"${join(output, "report.md")}"`);
  } finally {
    write.mockRestore();
  }
  const markdown = readFileSync(join(output, "report.md"), "utf8");
  expect(markdown).toContain(`6 questions of the split test of ${data}`);
  // A model against its copy.
  expect(markdown).toMatch(/\| grpo-1\/model − sft-1\/model \|.*\| \+0\.0 \[\+0\.0, \+0\.0\] \| 0 \| 0 \|\n/);
  expect(readFileSync(join(output, "report.html"), "utf8")).toContain("<svg");
  expect(JSON.parse(readFileSync(join(output, "report.json"), "utf8")).reports[1].items).toHaveLength(6);
  await expect(
    evaluate(model, {
      ...{ data, split: "test", prompt: "compact", listTables: false, corrections: 9, maxTokens: 6 },
      json: true,
    }),
  ).rejects.toThrow("Cannot open text-to-sql: corrections is 9, expected at most 8");
});
