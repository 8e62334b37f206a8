/** The recipe's data: Spider's folder, a user's, or databases of its own; and the rows that SFT begins with. */
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { UserError } from "../../base/index.js";
import {
  createSqlPrompt,
  loadTextToSqlData,
  parseTextToSqlConfig,
  SPLITS,
  writeOwnDatabases,
} from "../../envs/index.js";
import type { Action } from "../../pipeline/index.js";
import { parseArguments } from "./arguments.js";

const Given = z.strictObject({
  /** auto: Spider where it is found, else own; own: made from the seed; or a folder in Spider's layout. */
  source: z.string().min(1),
  seed: z.int().nonnegative(),
  /** Questions of own databases, by split. */
  counts: z.partialRecord(z.enum(SPLITS), z.int().positive()).optional(),
  environment: z.record(z.string(), z.json()).default({}),
});

/** Where Spider may lie beside a checkout; HONE_DATA names another place. */
function spiderFolder(): string | undefined {
  const roots = [
    process.env["HONE_DATA"],
    "../shared/data",
    join(import.meta.dirname, "../../../../shared/data"),
  ];
  return roots
    .filter((root) => root !== undefined)
    .map((root) => resolve(root, "spider"))
    .find((folder) => existsSync(join(folder, "tables.json")));
}

function folderOf(source: string): string | undefined {
  if (source === "own") return undefined;
  if (source === "auto") return spiderFolder();
  const folder = resolve(source);
  if (existsSync(join(folder, "tables.json"))) return folder;
  throw new UserError(
    `Cannot use data ${source}: ${join(folder, "tables.json")} does not exist, expected a folder in Spider's layout, "own" or "auto"`,
  );
}

export const textToSqlData: Action = {
  version: 1,
  files(given) {
    const folder = folderOf(parseArguments(Given, given, "text-to-sql-data").source);
    const names = [
      "tables.json",
      "train_spider.json",
      "train_pairs.jsonl",
      "dev.json",
      "sft.jsonl",
      "rl.jsonl",
    ];
    return folder === undefined
      ? []
      : names.map((name) => join(folder, name)).filter((path) => existsSync(path));
  },
  async run({ directory, arguments: given, say }) {
    const { source, seed, counts, environment } = parseArguments(Given, given, "text-to-sql-data");
    const found = folderOf(source);
    const folder = found ?? join(directory, "own");
    if (found === undefined) writeOwnDatabases(folder, seed, counts === undefined ? {} : { counts });
    const config = parseTextToSqlConfig({ ...environment, data: folder });
    const data = loadTextToSqlData(folder, { splitBy: config.splitBy, seed: config.splitSeed });
    const prompt = createSqlPrompt(config, data.databases);
    const textOf = (example: (typeof data.splits.sft)[number]): string =>
      prompt
        .messages(example)
        .map(({ content }) => content ?? "")
        .join("\n");
    const rows = data.splits.sft.map((example) => ({
      prompt: textOf(example),
      completion: prompt.goldText(example),
    }));
    writeLines(join(directory, "sft.jsonl"), rows);
    // Words of questions alone: the gold queries kept for RL are seen by its reward only.
    writeLines(
      join(directory, "questions.jsonl"),
      data.splits.rl.map((example) => ({ text: textOf(example) })),
    );
    const { sft, rl, validation, test } = data.splits;
    say(
      `${found === undefined ? "own databases" : folder}: ${data.databases.size} databases; ${sft.length} questions for SFT, ${rl.length} for RL, ${validation.length} for validation, ${test.length} held out`,
    );
    return {
      folder,
      kind: found === undefined ? "own" : "given",
      sft: join(directory, "sft.jsonl"),
      questions: join(directory, "questions.jsonl"),
    };
  },
};

function writeLines(path: string, rows: readonly unknown[]): void {
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}
