/** Runs in the children of the executor's pool: statements in, outcomes out. Connections and gold results stay open. */
import type { CreateHandler, JobContext } from "../../../sandbox/index.js";
import { type Connection, DatabaseProblem, fingerprintOf, openReadOnly } from "./connection.js";
import { resultsMatch } from "./match-results.js";
import { isOrdered, officialRewrites, withoutDistinct } from "./official-rewrites.js";
import {
  hasRows,
  type SqlComparison,
  type SqlInvalid,
  type SqlOutcome,
  type SqlPreview,
  type SqlRows,
  type SqlValue,
} from "./outcome.js";
import { type QueryOptions, runQuery } from "./run-query.js";

/** What a job is at, so that a child that had to be killed tells whose fault it was. */
export const PHASES = { open: 0, gold: 1, statement: 2, match: 3 } as const;

export interface WorkerOptions {
  readonly lockTimeoutMs: number;
  readonly heapLimitBytes: number;
  readonly maxRows: number;
  readonly maxBytes: number;
  readonly previewRows: number;
  readonly distinct: "kept" | "removed";
}

export type SqlRequest = { readonly path: string; readonly sql: string } & (
  | { readonly kind: "execute" }
  | { readonly kind: "compare"; readonly gold: string }
);

export type SqlResponse = SqlOutcome | SqlComparison;

const MAX_CONNECTIONS = 32;
const MAX_PREVIEW_CHARACTERS = 500;
/** Remembered gold results, by their number of values. */
const MAX_GOLD_VALUES = 1_000_000;

interface OpenDatabase {
  readonly connection: Connection;
  readonly gold: Map<string, SqlRows>;
}

const createHandler: CreateHandler<WorkerOptions, SqlRequest, SqlResponse> = (options) => {
  const databases = new Map<string, OpenDatabase>();
  let goldValues = 0;

  const forget = (path: string): void => {
    const database = databases.get(path);
    if (database === undefined) return;
    for (const rows of database.gold.values()) goldValues -= valueCount(rows);
    databases.delete(path);
    database.connection.sqlite.close();
  };

  const databaseOf = (path: string): OpenDatabase => {
    let database = databases.get(path);
    if (database !== undefined && database.connection.fingerprint !== fingerprintOf(path)) {
      forget(path);
      database = undefined;
    }
    if (database === undefined) {
      if (databases.size >= MAX_CONNECTIONS) forget([...databases.keys()][0]!);
      database = { connection: openReadOnly(path, options), gold: new Map() };
    }
    // The least recently used comes first.
    databases.delete(path);
    databases.set(path, database);
    return database;
  };

  const goldOf = (
    { connection, gold }: OpenDatabase,
    sql: string,
    query: QueryOptions,
  ): SqlRows | SqlInvalid => {
    const known = gold.get(sql);
    if (known !== undefined) return known;
    const outcome = runQuery(connection, sql, query);
    if (!hasRows(outcome))
      return invalid(`the gold statement fails (${outcome.kind}: ${outcome.message}): ${sql}`);
    if (goldValues + valueCount(outcome) > MAX_GOLD_VALUES) {
      for (const database of databases.values()) database.gold.clear();
      goldValues = 0;
    }
    goldValues += valueCount(outcome);
    gold.set(sql, outcome);
    return outcome;
  };

  const compare = (
    database: OpenDatabase,
    { gold, sql }: SqlRequest & { readonly kind: "compare" },
    { mark, attempt }: JobContext,
  ): SqlComparison => {
    const query = { ...options, isCareful: attempt > 1 };
    const rewritten = (text: string): string =>
      officialRewrites(options.distinct === "kept" ? text : withoutDistinct(text));
    const goldSql = rewritten(gold);
    const wasKnown = database.gold.has(goldSql);
    if (!wasKnown) mark(PHASES.gold);
    const goldRows = goldOf(database, goldSql, query);
    if (goldRows.kind === "invalid") return goldRows;
    mark(PHASES.statement);
    const predicted = runQuery(database.connection, rewritten(sql), query);
    const result = { kind: "compared", gold: previewOf(goldRows), executions: wasKnown ? 1 : 2 } as const;
    if (!hasRows(predicted)) return { ...result, predicted, isMatch: false };
    mark(PHASES.match);
    const isMatch = resultsMatch(goldRows.rows, predicted.rows, { isOrdered: isOrdered(goldSql) });
    return { ...result, predicted: previewOf(predicted), isMatch };
  };

  const previewOf = (rows: SqlRows): SqlPreview => ({
    ...rows,
    rows: rows.rows.slice(0, options.previewRows).map((row) => row.map(clipped)),
    rowCount: rows.rows.length,
  });

  return (request, context) => {
    try {
      const database = databaseOf(request.path);
      if (request.kind === "compare") return compare(database, request, context);
      context.mark(PHASES.statement);
      return runQuery(database.connection, request.sql, { ...options, isCareful: context.attempt > 1 });
    } catch (error) {
      if (!(error instanceof DatabaseProblem)) throw error;
      return invalid(error.message);
    }
  };
};

/** A preview is for people and prompts, and travels with every comparison. */
function clipped(value: SqlValue): SqlValue {
  if (typeof value === "string" && value.length > MAX_PREVIEW_CHARACTERS)
    return `${value.slice(0, MAX_PREVIEW_CHARACTERS)}…`;
  if (value instanceof Uint8Array) return value.slice(0, MAX_PREVIEW_CHARACTERS);
  return value;
}

function valueCount({ rows }: SqlRows): number {
  return rows.length * (rows[0]?.length ?? 0);
}

function invalid(message: string): SqlInvalid {
  return { kind: "invalid", message };
}

export default createHandler;
