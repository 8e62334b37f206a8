/**
 * Model-written SQL on SQLite files, read-only, in killable processes with a deadline. Tells a statement's fault, which
 * is an outcome, from ours, which is `invalid`.
 */
import { availableParallelism } from "node:os";
import { CancelledError, messageOf } from "../../../base/index.js";
import { createPool, type JobOutcome } from "../../../sandbox/index.js";
import type { SqlComparison, SqlFailure, SqlOutcome } from "./outcome.js";
import { PHASES, type SqlRequest, type SqlResponse, type WorkerOptions } from "./query-worker.js";

export interface SqlExecutorOptions {
  /** The SQLite file of a database's name. */
  readonly databases: (name: string) => string;
  /** Processes. @default one per core, 4 at most */
  readonly workers?: number;
  /** For a statement; gold statements and the opening of a database get as much again. @default 2000 */
  readonly deadlineMs?: number;
  /** @default 100000 */
  readonly maxRows?: number;
  /** Of a result's values. @default 32 MiB */
  readonly maxBytes?: number;
  /** What a process may use. @default 512 MiB */
  readonly memoryLimitBytes?: number;
  /** Rows of each result that a comparison gives back. @default 5 */
  readonly previewRows?: number;
  /**
   * Whether comparisons heed DISTINCT. Spider's evaluation removes the word on both sides unless told otherwise.
   *
   * @default "kept"
   */
  readonly distinct?: "kept" | "removed";
}

export interface SqlCallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface SqlExecutor {
  /** Runs one statement and gives back all of its rows. */
  execute(database: string, sql: string, options?: SqlCallOptions): Promise<SqlOutcome>;
  /** Runs a statement and, unless remembered, the gold one; compares as Spider's evaluation does. */
  compare(
    database: string,
    statements: { readonly gold: string; readonly predicted: string },
    options?: SqlCallOptions,
  ): Promise<SqlComparison>;
  /** Of the processes alive now. */
  processIds(): readonly number[];
  close(): Promise<void>;
}

/**
 * @example
 * const executor = createSqlExecutor({ databases: (name) => `database/${name}/${name}.sqlite` });
 * const outcome = await executor.compare("pets_1", { gold: "SELECT count(*) FROM pets", predicted: "SELECT 3" });
 * await executor.close();
 */
export function createSqlExecutor({
  databases,
  workers = Math.min(4, availableParallelism()),
  deadlineMs = 2000,
  maxRows = 100_000,
  maxBytes = 32 * 2 ** 20,
  memoryLimitBytes = 512 * 2 ** 20,
  previewRows = 5,
  distinct = "kept",
}: SqlExecutorOptions): SqlExecutor {
  const workerOptions: WorkerOptions = {
    ...{ maxRows, maxBytes, previewRows, distinct },
    lockTimeoutMs: Math.floor(deadlineMs / 3),
    heapLimitBytes: Math.floor(memoryLimitBytes / 4),
  };
  let isClosed = false;
  const pool = createPool<SqlRequest, SqlResponse>({
    module: new URL(
      import.meta.url.endsWith(".ts") ? "./query-worker.ts" : "./query-worker.js",
      import.meta.url,
    ),
    options: workerOptions,
    ...{ size: workers, deadlineMs, memoryLimitBytes },
  });

  /** A pool that has broken down is a broken grader. */
  const runInPool = async (
    request: SqlRequest,
    signal: AbortSignal | undefined,
  ): Promise<JobOutcome<SqlResponse>> => {
    try {
      return await pool.run(request, { signal });
    } catch (error) {
      if (isClosed || error instanceof CancelledError) throw error;
      return { kind: "error", message: messageOf(error) };
    }
  };

  const run = async (request: SqlRequest, { signal }: SqlCallOptions): Promise<SqlResponse> => {
    const outcome = await runInPool(request, signal);
    if (outcome.kind === "done") return outcome.response;
    if (outcome.kind === "error" || outcome.phase !== PHASES.statement)
      return { kind: "invalid", message: explanationOf(outcome) };
    if (outcome.kind === "timeout") return { kind: "timeout", message: `the statement ${outcome.message}` };
    if (outcome.kind === "memory")
      return { kind: "too_large", message: `the statement's process ${outcome.message}` };
    // Is the process bound to die, whatever it is asked?
    const probe = await runInPool({ kind: "execute", path: request.path, sql: "SELECT 1" }, signal);
    return probe.kind === "done" && probe.response.kind === "rows"
      ? { kind: "too_large", message: `the statement ended its process: ${outcome.message}` }
      : { kind: "invalid", message: explanationOf(outcome) };
  };

  const execute: SqlExecutor["execute"] = async (database, sql, options = {}) => {
    const request: SqlRequest = { kind: "execute", path: databases(database), sql };
    return (await run(request, options)) as SqlOutcome; // what children answer to "execute"
  };

  return {
    execute,
    compare: async (database, { gold, predicted }, options = {}) => {
      const path = databases(database);
      const outcome = await run({ kind: "compare", path, gold, sql: predicted }, options);
      if (outcome.kind === "compared" || outcome.kind === "invalid") return outcome;
      // The child died before it could say what the gold statement gives.
      const itself = await run({ kind: "compare", path, gold, sql: gold }, options);
      if (itself.kind === "invalid") return itself;
      if (itself.kind !== "compared")
        return {
          kind: "invalid",
          message: `the gold statement fails the second time (${itself.kind}): ${gold}`,
        };
      return {
        ...{ kind: "compared", isMatch: false, executions: 2, gold: itself.gold },
        predicted: outcome as SqlFailure, // the only kind left: children answer "compared" or "invalid"
      };
    },
    processIds: () => pool.processIds(),
    close: () => {
      isClosed = true;
      return pool.close();
    },
  };
}

function explanationOf(outcome: Exclude<JobOutcome<SqlResponse>, { kind: "done" }>): string {
  const where =
    outcome.kind === "error"
      ? "the grader failed"
      : outcome.phase === PHASES.open
        ? "the database could not be opened"
        : outcome.phase === PHASES.gold
          ? "the gold statement did not end"
          : outcome.phase === PHASES.match
            ? "the results could not be compared"
            : "the grader's process died";
  return `${where} (${outcome.kind}): ${outcome.message}`;
}
