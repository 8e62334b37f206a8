/** Loads text-to-SQL data in Spider's layout, the benchmark's own or a user's: questions, schemas, database files. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { Random, UserError } from "../../../base/index.js";
import { readRows } from "./json-rows.js";
import { databasePath, SPLITS, type SplitName } from "./own-databases.js";
import { type DatabaseSchema, readSqliteSchema, schemaOfEntry, tablesJsonEntry } from "./schema.js";
import { SqlSyntaxError } from "./sql-lexer.js";
import { type Hardness, hardnessOfSql } from "./structure/hardness.js";

export interface TextToSqlExample {
  /** Unique within the data, and the same on every load. */
  readonly id: string;
  readonly question: string;
  /** The gold query, as the data has it. */
  readonly sql: string;
  readonly database: string;
  /** `hardness` always ("unknown" outside Spider's grammar); `family` where the data names one. */
  readonly tags: Readonly<Record<string, string>> & { readonly hardness: Hardness | "unknown" };
}

export interface SqlDatabase {
  readonly name: string;
  /** The SQLite file. */
  readonly path: string;
  readonly schema: DatabaseSchema;
}

export interface TextToSqlData {
  readonly folder: string;
  readonly databases: ReadonlyMap<string, SqlDatabase>;
  readonly splits: Readonly<Record<SplitName, readonly TextToSqlExample[]>>;
  /** Questions left out because their database has no file, counted by database. */
  readonly withoutDatabase: Readonly<Record<string, number>>;
}

export interface LoadTextToSqlOptions {
  /** Of the split by question, where the folder does not say which question belongs where. @default 0 */
  readonly seed?: number;
  /** Shares of that split, in any unit. @default { sft: 45, rl: 35, validation: 8, test: 12 } */
  readonly shares?: Readonly<Record<SplitName, number>>;
  /**
   * What keeps together: "question" lets a query that is asked in two wordings stand in two splits; "query" does not,
   * and asks for more. @default "question"
   */
  readonly splitBy?: "question" | "query";
  /** Databases to keep. @default all that have a file */
  readonly databases?: readonly string[];
}

const SHARES: Readonly<Record<SplitName, number>> = { sft: 45, rl: 35, validation: 8, test: 12 };

const questionRow = z.object({
  id: z.string().min(1).optional(),
  db_id: z.string().min(1),
  question: z.string().min(1),
  query: z.string().min(1),
  family: z.string().optional(),
});

/** Spider's own files, with the name that their questions' ids begin with. */
const SPIDER_FILES = [
  ["train_spider.json", "train"],
  ["train_others.json", "others"],
  ["train_pairs.jsonl", "train"],
  ["train.json", "train"],
  ["dev.json", "dev"],
] as const;

/**
 * Everything under `folder`. With `sft.jsonl`, `rl.jsonl`, `validation.jsonl` and `test.jsonl`, those are the splits;
 * with Spider's files, all their questions are split by the seed. Schemas come from `tables.json` where it has them,
 * else from the SQLite files.
 *
 * @throws UserError naming file and line of what is wrong
 */
export function loadTextToSqlData(folder: string, options: LoadTextToSqlOptions = {}): TextToSqlData {
  const databases = loadDatabases(folder, options.databases);
  const loader = createLoader(folder, databases, options.databases);
  if (existsSync(join(folder, "sft.jsonl"))) {
    const splits = Object.fromEntries(
      SPLITS.map((split) => [split, loader.read(`${split}.jsonl`, split)]),
    ) as Record<SplitName, TextToSqlExample[]>; // fromEntries forgets the keys
    refuseShared(folder, splits);
    return { folder, databases, splits, withoutDatabase: loader.withoutDatabase };
  }
  const { train, dev } = loader.spider();
  const splits = splitQuestions([...train, ...dev], options);
  return { folder, databases, splits, withoutDatabase: loader.withoutDatabase };
}

export interface SpiderData {
  readonly databases: ReadonlyMap<string, SqlDatabase>;
  readonly train: readonly TextToSqlExample[];
  readonly dev: readonly TextToSqlExample[];
  readonly withoutDatabase: Readonly<Record<string, number>>;
}

/** Spider's training and development questions, as the benchmark divides them: by database. */
export function loadSpider(
  folder: string,
  options: Pick<LoadTextToSqlOptions, "databases"> = {},
): SpiderData {
  const databases = loadDatabases(folder, options.databases);
  const loader = createLoader(folder, databases, options.databases);
  return { databases, ...loader.spider(), withoutDatabase: loader.withoutDatabase };
}

/** Divides questions by a seed. Equal questions on one database always stay together. */
export function splitQuestions(
  examples: readonly TextToSqlExample[],
  options: Pick<LoadTextToSqlOptions, "seed" | "shares" | "splitBy"> = {},
): Record<SplitName, TextToSqlExample[]> {
  const { seed = 0, shares = SHARES, splitBy = "question" } = options;
  const keyOf = (example: TextToSqlExample): string =>
    `${example.database}\n${splitBy === "question" ? example.question : example.sql}`
      .toLowerCase()
      .replace(/\s+/g, " ");
  const groups = new Map<string, TextToSqlExample[]>();
  for (const example of examples) {
    const group = groups.get(keyOf(example));
    if (group === undefined) groups.set(keyOf(example), [example]);
    else group.push(example);
  }
  const order = new Random(seed).fork("split").shuffled([...groups.values()]);
  const whole = SPLITS.reduce((sum, split) => sum + shares[split], 0);
  const splits: Record<SplitName, TextToSqlExample[]> = { sft: [], rl: [], validation: [], test: [] };
  let start = 0;
  let share = 0;
  for (const split of SPLITS) {
    share += shares[split];
    const end = Math.round((share / whole) * order.length);
    splits[split].push(...order.slice(start, end).flat());
    start = end;
  }
  return splits;
}

/** Every database with a file under `database/`. */
export function loadDatabases(folder: string, only?: readonly string[]): ReadonlyMap<string, SqlDatabase> {
  const root = join(folder, "database");
  if (!existsSync(root)) {
    throw new UserError(
      `Cannot load text-to-SQL data: ${root} does not exist, expected one folder per database with its SQLite file, as <db>/<db>.sqlite`,
    );
  }
  const tablesPath = join(folder, "tables.json");
  const entries = existsSync(tablesPath) ? readRows(tablesPath, tablesJsonEntry) : [];
  const described = new Map(entries.map((entry) => [entry.db_id, schemaOfEntry(entry, tablesPath)]));
  const databases = new Map<string, SqlDatabase>();
  for (const name of readdirSync(root).sort()) {
    const path = databasePath(folder, name);
    if (!existsSync(path) || only?.includes(name) === false) continue;
    databases.set(name, { name, path, schema: described.get(name) ?? readSqliteSchema(path, name) });
  }
  const missing = only?.find((name) => !databases.has(name));
  if (missing !== undefined) {
    throw new UserError(
      `Cannot load database "${missing}": ${databasePath(folder, missing)} does not exist, expected a SQLite file`,
    );
  }
  return databases;
}

function createLoader(
  folder: string,
  databases: ReadonlyMap<string, SqlDatabase>,
  only: readonly string[] | undefined,
) {
  const withoutDatabase: Record<string, number> = {};
  const places = new Map<string, string>();
  const read = (file: string, prefix: string): TextToSqlExample[] =>
    readRows(join(folder, file), questionRow).flatMap((row, i) => {
      const database = databases.get(row.db_id);
      if (database === undefined) {
        if (only === undefined) withoutDatabase[row.db_id] = (withoutDatabase[row.db_id] ?? 0) + 1;
        return [];
      }
      const { id = `${prefix}-${i}`, question, query, db_id, family } = row;
      const [first, place] = [places.get(id), `${file}, question ${i + 1}`];
      if (first !== undefined) {
        throw new UserError(
          `Cannot load text-to-SQL data from ${folder}: the id "${id}" stands twice (${first}; ${place}), expected one of its own for every question. Leave ids out to have them made`,
        );
      }
      places.set(id, place);
      return [
        {
          id,
          question,
          sql: query,
          database: db_id,
          tags: {
            hardness: taggedHardness(query, database.schema),
            ...(family === undefined ? {} : { family }),
          },
        },
      ];
    });
  const spider = (): { train: TextToSqlExample[]; dev: TextToSqlExample[] } => {
    const present = SPIDER_FILES.filter(([file]) => existsSync(join(folder, file)));
    if (present.length === 0) {
      throw new UserError(
        `Cannot load text-to-SQL data: ${folder} has none of sft.jsonl, ${SPIDER_FILES.map(([file]) => file).join(", ")}, expected questions with db_id, question and query`,
      );
    }
    // Several files may hold the same training questions; the first of a kind is enough.
    const kinds = new Set<string>();
    const chosen = present.filter(([, kind]) => !kinds.has(kind) && kinds.add(kind));
    const all = chosen.map(([file, kind]) => ({ kind, examples: read(file, kind) }));
    return {
      train: all.filter(({ kind }) => kind !== "dev").flatMap(({ examples }) => examples),
      dev: all.filter(({ kind }) => kind === "dev").flatMap(({ examples }) => examples),
    };
  };
  return { read, spider, withoutDatabase };
}

function taggedHardness(sql: string, schema: DatabaseSchema): Hardness | "unknown" {
  try {
    return hardnessOfSql(sql, schema);
  } catch (thrown) {
    if (thrown instanceof SqlSyntaxError) return "unknown";
    throw thrown;
  }
}

/** A question that stands in two splits would make the held-out score a memory test. */
function refuseShared(
  folder: string,
  splits: Readonly<Record<SplitName, readonly TextToSqlExample[]>>,
): void {
  const owner = new Map<string, { split: SplitName; id: string }>();
  for (const split of SPLITS) {
    for (const { id, database, question } of splits[split]) {
      const key = `${database}\n${question}`;
      const first = owner.get(key);
      if (first !== undefined && first.split !== split) {
        throw new UserError(
          `Cannot load text-to-SQL data: question ${JSON.stringify(question)} of database "${database}" is in ${join(folder, `${first.split}.jsonl`)} (${first.id}) and in ${split}.jsonl (${id}), expected it in one split`,
        );
      }
      owner.set(key, { split, id });
    }
  }
}
