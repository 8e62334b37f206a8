/** Our evaluation against Spider's own scripts, on imperfect predictions, one by one. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { createSqlExecutor, loadDatabases, type SqlDatabase } from "../../src/envs/index.js";
import { COMPONENTS, evaluateSpider, type SpiderItem } from "../../src/evals/index.js";
import { type GoldenPrediction, predictionOf, readGoldenSpider } from "../golden/spider.js";

const folder = resolve(
  process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../shared/data"),
  "spider",
);
const isHere = existsSync(join(folder, "dev.json"));

const devRows = z.array(z.object({ db_id: z.string(), question: z.string(), query: z.string() }));
const tableRows = z.array(
  z.object({
    db_id: z.string(),
    column_names_original: z.array(z.tuple([z.int(), z.string()])),
    table_names_original: z.array(z.string()),
  }),
);
const read = (name: string): unknown => JSON.parse(readFileSync(join(folder, name), "utf8"));

interface Judged {
  readonly golden: GoldenPrediction;
  readonly item: SpiderItem;
  readonly withoutDistinct: boolean | null;
}

describe.skipIf(!isHere)(`Spider's evaluation${isHere ? "" : ` (skipped: ${folder} is absent)`}`, () => {
  let judged: readonly Judged[];

  beforeAll(async () => {
    const dev = devRows.parse(read("dev.json"));
    const entries = new Map(tableRows.parse(read("tables.json")).map((entry) => [entry.db_id, entry]));
    const queries = dev.map(({ query }) => query);
    const golden = readGoldenSpider();
    const predictions = new Map(
      golden.map((one) => {
        const entry = entries.get(dev[one.example]!.db_id)!;
        const columns = entry.column_names_original.map(([, name]) => name);
        const sql = predictionOf(one, { queries, columns, tables: entry.table_names_original });
        return [`dev-${one.example}`, sql];
      }),
    );
    const examples = golden.map(({ example, hardness }) => {
      const { db_id, question, query } = dev[example]!;
      return { id: `dev-${example}`, question, sql: query, database: db_id, tags: { hardness } };
    });
    const databases = loadDatabases(folder, [...new Set(dev.map(({ db_id }) => db_id))]);
    const [kept, removed] = await Promise.all([
      evaluated("kept", databases, examples, predictions),
      evaluated("removed", databases, examples, predictions),
    ]);
    judged = golden.map((one, i) => ({
      golden: one,
      item: kept[i]!,
      withoutDistinct: removed[i]!.isExecutionMatch,
    }));
  }, 120_000);

  it("executes every prediction to the script's verdict, with DISTINCT kept and removed", () => {
    const ours = judged.map(({ item, withoutDistinct }) => [item.isExecutionMatch, withoutDistinct]);
    expect(ours).toEqual(judged.map(({ golden }) => golden.executed.map((verdict) => verdict === 1)));
    // Both kinds of verdict, and predictions that only DISTINCT makes wrong, are among them.
    expect([0, 1].map((at) => ours.filter((verdicts) => verdicts[at]).length)).toEqual([153, 177]);
  });

  it("finds the script's hardness", () => {
    expect(judged.map(({ item }) => item.hardness)).toEqual(judged.map(({ golden }) => golden.hardness));
  });

  it("gives the script's exact match and components to all that the script can read, but for 6 texts", () => {
    const readable = judged.filter(({ golden }) => golden.isParsed);
    expect(readable).toHaveLength(719);
    const different = readable.filter(
      (one) => verdictsOf(one) !== `${one.golden.exact} | ${one.golden.components}`,
    );
    // Four are no SQL. In two an alias stands without AS and elsewhere with it: one more table to the script.
    expect(different.map(({ item }) => `${isSql(item)} ${hasPlainAlias(item)}`).toSorted()).toEqual([
      ...Array(4).fill("false false"),
      ...Array(2).fill("true true"),
    ]);
  });

  it("gives another exact match than the script only to such texts, and to SQL that it cannot read", () => {
    const different = judged.filter(({ golden, item }) => item.isExactMatch !== (golden.exact === 1));
    const unexplained = different.filter(
      ({ item }) => isSql(item) && !READ_BEYOND.some((pattern) => pattern.test(item.predicted)),
    );
    expect(unexplained).toEqual([]);
    expect(judged.filter(({ golden }) => golden.exact === 1)).toHaveLength(141);
    expect(different.filter(({ item }) => item.isExactMatch)).toHaveLength(30);
    expect(different.filter(({ item }) => !item.isExactMatch)).toHaveLength(1);
  });
});

/** SQL that the script takes for broken, and we read. */
const READ_BEYOND = [
  /<>/,
  /\bnull\b/i,
  / AS total\b/,
  /\bunion all\b/i,
  /\b(?:left|inner)\b/i,
  /\b(?:from|join) \w+ t\d/i,
];

const isSql = ({ error }: SpiderItem): boolean => error?.class !== "syntax";
/** Where the alias also stands elsewhere with AS, the script reads it as one more table. */
const hasPlainAlias = ({ predicted }: SpiderItem): boolean => /\b(?:from|join) \w+ t\d/i.test(predicted);

function verdictsOf({ item }: Judged): string {
  const components = COMPONENTS.map((name) => {
    const { score, predicted, gold } = item.components![name];
    return `${score}${predicted}/${gold}`;
  });
  return `${Number(item.isExactMatch)} | ${components.join(" ")}`;
}

async function evaluated(
  distinct: "kept" | "removed",
  databases: ReadonlyMap<string, SqlDatabase>,
  examples: Parameters<typeof evaluateSpider>[0]["examples"],
  predictions: ReadonlyMap<string, string>,
): Promise<readonly SpiderItem[]> {
  const executor = createSqlExecutor({
    databases: (name) => databases.get(name)!.path,
    deadlineMs: 20_000,
    distinct,
  });
  try {
    const report = await evaluateSpider({ model: distinct, examples, predictions, databases, executor });
    return report.items;
  } finally {
    await executor.close();
  }
}
