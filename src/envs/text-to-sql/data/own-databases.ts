/**
 * Databases and questions for newcomers, made from a seed: nothing to download. The folder has Spider's layout, plus
 * one file of questions per split. Questions are kept apart by their words; databases are the same in every split.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type Sqlite from "libsql";
import { Random, UserError } from "../../../base/index.js";
import { openToRead } from "./open-to-read.js";
import { DOMAINS } from "./own/domains.js";
import { FAMILIES, type Family, type FamilyName } from "./own/families.js";
import { schemaOfDomain, writeDomain } from "./own/fill.js";
import { entryOfSchema } from "./schema.js";
import { hardnessOfSql } from "./structure/hardness.js";

export const SPLITS = ["sft", "rl", "validation", "test"] as const;
export type SplitName = (typeof SPLITS)[number];

export interface OwnDatabasesOptions {
  /** Questions per split. @default { sft: 600, rl: 3000, validation: 300, test: 600 } */
  readonly counts?: Readonly<Partial<Record<SplitName, number>>>;
  /** Further fillings: the same schemas with other rows, under `fillings/1`, `fillings/2`, … @default 4 */
  readonly fillings?: number;
}

export interface OwnQuestion {
  readonly id: string;
  readonly question: string;
  readonly query: string;
  readonly db_id: string;
  readonly family: FamilyName;
  readonly hardness: string;
}

const COUNTS: Readonly<Record<SplitName, number>> = { sft: 600, rl: 3000, validation: 300, test: 600 };
/** One question in this many may have an answer without rows: some real questions do. */
const EMPTY_ONE_IN = 50;

/**
 * Writes `tables.json`, `database/<db>/<db>.sqlite`, the splits as `<split>.jsonl` and the fillings.
 *
 * @throws UserError when so many different questions cannot be made
 */
export function writeOwnDatabases(folder: string, seed: number, options: OwnDatabasesOptions = {}): void {
  const { counts = {}, fillings = 4 } = options;
  const wanted = SPLITS.map((split) => ({ split, count: counts[split] ?? COUNTS[split] }));
  const wrong = [...wanted, { split: "fillings", count: fillings }].find(
    ({ count }) => !Number.isInteger(count) || count < 0,
  );
  if (wrong !== undefined) {
    throw new UserError(
      `Cannot write own databases: ${wrong.split} is ${wrong.count}, expected a whole number, 0 or more`,
    );
  }
  const random = new Random(seed);
  mkdirSync(folder, { recursive: true });
  fillOwnDatabases(folder, seed);
  for (let filling = 1; filling <= fillings; filling++) {
    fillOwnDatabases(join(folder, "fillings", `${filling}`), random.fork(`filling ${filling}`).uint32());
  }
  const entries = DOMAINS.map((domain) => entryOfSchema(schemaOfDomain(domain)));
  writeFileSync(join(folder, "tables.json"), `${JSON.stringify(entries, null, 1)}\n`);

  const total = wanted.reduce((sum, { count }) => sum + count, 0);
  const questions = makeQuestions(folder, total, random.fork("questions"));
  let start = 0;
  for (const { split, count } of wanted) {
    const rows = questions.slice(start, start + count).map((row, i) => ({ id: `${split}-${i}`, ...row }));
    start += count;
    writeFileSync(join(folder, `${split}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  }
}

/** Writes the databases alone, with rows drawn from `seed`: the same schemas, other facts. */
export function fillOwnDatabases(folder: string, seed: number): void {
  const random = new Random(seed).fork("rows");
  for (const domain of DOMAINS) {
    writeDomain(databasePath(folder, domain.name), domain, random.fork(domain.name));
  }
}

/** Where Spider's layout keeps a database's file. */
export function databasePath(folder: string, database: string): string {
  return join(folder, "database", database, `${database}.sqlite`);
}

/** Different questions whose SQL runs, families and databases equally likely. */
function makeQuestions(folder: string, count: number, random: Random): Omit<OwnQuestion, "id">[] {
  const databases = DOMAINS.map((domain) => ({
    domain,
    file: openToRead(databasePath(folder, domain.name), domain.name),
    schema: schemaOfDomain(domain),
  }));
  const families = Object.entries(FAMILIES) as [FamilyName, Family][]; // Object.entries forgets the keys
  const seen = new Set<string>();
  const made: Omit<OwnQuestion, "id">[] = [];
  let empty = 0;
  try {
    for (let attempts = 0; made.length < count; attempts++) {
      if (attempts > 200 * count + 10_000) {
        throw new UserError(
          `Cannot make ${count} questions: only ${made.length} different ones were found, expected enough for all splits. Lower the counts`,
        );
      }
      const [family, make] = families[random.integer(families.length)]!;
      const able =
        family === "join" ? databases.filter(({ domain }) => domain.parent !== undefined) : databases;
      const { domain, file, schema } = able[random.integer(able.length)]!;
      const phrase = make(random, domain);
      if (phrase === undefined) continue;
      const { words: question, sql: query } = phrase;
      const key = `${domain.name}\n${question}`;
      if (seen.has(key)) continue;
      if (!holdsSomething(file, query)) {
        if ((empty + 1) * EMPTY_ONE_IN > made.length) continue;
        empty++;
      }
      seen.add(key);
      made.push({ question, query, db_id: domain.name, family, hardness: hardnessOfSql(query, schema) });
    }
  } finally {
    for (const { file } of databases) file.close();
  }
  return made;
}

/** Whether the answer has a row whose cells are not all null or 0. */
function holdsSomething(file: Sqlite.Database, query: string): boolean {
  const rows = file.prepare(query).raw().all();
  return rows.some((row) => Array.isArray(row) && row.some((cell) => cell !== null && cell !== 0));
}
