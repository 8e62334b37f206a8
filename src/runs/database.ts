/**
 * The SQLite file of a project: opening, migrating, transactions. Several processes may read while one writes
 * (write-ahead log). Knows SQL; the records it holds are in `records.ts`.
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import Sqlite from "libsql";
import { messageOf, UserError } from "../base/index.js";

/** How long a writer waits for another process's transaction. */
const BUSY_TIMEOUT_MS = 15_000;

/** Migration `i` brings a file from schema version `i` to `i + 1`. Released entries are never edited, only added. */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE runs (
     id TEXT PRIMARY KEY, name TEXT NOT NULL, method TEXT NOT NULL, status TEXT NOT NULL, created TEXT NOT NULL,
     config TEXT NOT NULL, seed INTEGER NOT NULL, versions TEXT NOT NULL, git_commit TEXT,
     data_hashes TEXT NOT NULL, model_hash TEXT
   ) STRICT;
   CREATE TABLE metrics (
     run TEXT NOT NULL REFERENCES runs(id), entry INTEGER NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL,
     value REAL, is_machine INTEGER NOT NULL, wall_time TEXT NOT NULL,
     PRIMARY KEY (run, step, name)
   ) STRICT;
   CREATE TABLE checkpoints (
     run TEXT NOT NULL REFERENCES runs(id), step INTEGER NOT NULL, path TEXT NOT NULL, score REAL,
     size_bytes INTEGER NOT NULL, content_hash TEXT NOT NULL, is_kept INTEGER NOT NULL,
     PRIMARY KEY (run, step)
   ) STRICT;
   CREATE TABLE events (
     id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs(id), kind TEXT NOT NULL, detail TEXT NOT NULL,
     wall_time TEXT NOT NULL
   ) STRICT;
   CREATE INDEX events_of_run ON events(run);`,
  `CREATE TABLE rollout_prompts (hash TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
   CREATE TABLE rollouts (
     run TEXT NOT NULL REFERENCES runs(id), entry INTEGER NOT NULL, step INTEGER NOT NULL, task TEXT NOT NULL,
     tags TEXT NOT NULL, sample INTEGER NOT NULL, seed INTEGER NOT NULL, reward REAL, invalid TEXT NOT NULL,
     components TEXT NOT NULL, turns TEXT NOT NULL, is_truncated INTEGER NOT NULL,
     prompt_hash TEXT NOT NULL REFERENCES rollout_prompts(hash), texts TEXT NOT NULL, tokens BLOB NOT NULL,
     spans BLOB NOT NULL, logprobs BLOB NOT NULL, raw_logprobs BLOB NOT NULL,
     PRIMARY KEY (run, entry)
   ) STRICT;
   CREATE INDEX rollouts_by_step ON rollouts(run, step);
   CREATE INDEX rollouts_by_task ON rollouts(run, task);
   CREATE INDEX rollouts_by_reward ON rollouts(run, reward);
   CREATE INDEX rollouts_by_prompt ON rollouts(prompt_hash);`,
];

/** A value SQLite can hold. The binding aborts the process on anything else, so nothing else may reach it. */
export type SqlValue = number | string | Buffer | null;

export interface StoreDatabase {
  rows(sql: string, ...values: SqlValue[]): unknown[];
  write(sql: string, ...values: SqlValue[]): void;
  /**
   * Runs `body` alone among all writers of all processes, whole or not at all. A `durable` transaction is on the
   * device when this returns, with every one before it; others may be lost with the machine's power, never torn.
   */
  transaction<T>(body: () => T, durability: "durable" | "ordered"): T;
  close(): void;
}

/** Opens `path`, making or migrating it. @throws UserError when it cannot be made, is not a store or is newer than this program. */
export function openDatabase(path: string): StoreDatabase {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (error) {
    throw new UserError(
      `Cannot open run store ${path}: its directory cannot be made (${messageOf(error)}), expected a project directory that can be written to. Name another with output or --project`,
      { cause: error },
    );
  }
  try {
    return migrated(new Sqlite(path, { timeout: BUSY_TIMEOUT_MS }), path);
  } catch (error) {
    if (error instanceof Error && "code" in error && /^SQLITE_(NOTADB|CORRUPT)/.test(String(error.code))) {
      throw new UserError(
        `Cannot open run store ${path}: ${error.message}, expected a SQLite file written by Hone. Move the file away to begin a new store`,
        { cause: error },
      );
    }
    throw error;
  }
}

function migrated(sqlite: Sqlite.Database, path: string): StoreDatabase {
  sqlite.pragma("journal_mode = WAL");
  sqlite.pragma("foreign_keys = ON");
  const statements = new Map<string, Sqlite.Statement>();
  const prepared = (sql: string): Sqlite.Statement => {
    let statement = statements.get(sql);
    if (statement === undefined) statements.set(sql, (statement = sqlite.prepare(sql)));
    return statement;
  };
  const database: StoreDatabase = {
    rows: (sql, ...values) => prepared(sql).all(...values),
    write: (sql, ...values) => void prepared(sql).run(...values),
    transaction(body, durability) {
      sqlite.exec(`PRAGMA synchronous = ${durability === "durable" ? "FULL" : "NORMAL"}`);
      sqlite.exec("BEGIN IMMEDIATE");
      try {
        const result = body();
        sqlite.exec("COMMIT");
        return result;
      } catch (error) {
        if (sqlite.inTransaction) sqlite.exec("ROLLBACK");
        throw error;
      }
    },
    close: () => void sqlite.close(),
  };
  if (versionOf(sqlite) !== MIGRATIONS.length) database.transaction(() => migrate(sqlite, path), "durable");
  return database;
}

function migrate(sqlite: Sqlite.Database, path: string): void {
  const version = versionOf(sqlite);
  if (version > MIGRATIONS.length) {
    throw new UserError(
      `Cannot open run store ${path}: its schema version is ${version}, expected ${MIGRATIONS.length} or less. Update hone-ai`,
    );
  }
  for (const migration of MIGRATIONS.slice(version)) sqlite.exec(migration);
  sqlite.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
}

function versionOf(sqlite: Sqlite.Database): number {
  const row = sqlite.prepare("PRAGMA user_version").get();
  if (typeof row === "object" && row !== null && "user_version" in row) return Number(row.user_version);
  throw new Error("internal: PRAGMA user_version answered nothing");
}
