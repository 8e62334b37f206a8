/** Rows of the store as records, parsed at the door. */
import { z } from "zod";
import { UserError } from "../base/index.js";
import type { StoreDatabase } from "./database.js";
import {
  type CheckpointRecord,
  type EventRecord,
  type MetricRecord,
  type RunRecord,
  RunStatus,
} from "./records.js";

const Json = z.string().transform((text): unknown => JSON.parse(text));
const Flag = z.number().transform((value) => value !== 0);
/** SQLite keeps NaN as NULL. */
const Real = z.union([z.number(), z.literal([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])]);

const RunRow = z
  .object({
    id: z.string(),
    name: z.string(),
    method: z.string(),
    status: RunStatus,
    created: z.string(),
    config: Json.pipe(z.record(z.string(), z.unknown())),
    seed: z.number(),
    versions: Json.pipe(z.record(z.string(), z.string())),
    git_commit: z.string().nullable(),
    data_hashes: Json.pipe(z.record(z.string(), z.string())),
    model_hash: z.string().nullable(),
  })
  .transform(
    ({ git_commit, data_hashes, model_hash, ...row }): RunRecord => ({
      ...row,
      gitCommit: git_commit,
      dataHashes: data_hashes,
      modelHash: model_hash,
    }),
  );

const MetricRow = z
  .object({
    entry: z.number(),
    step: z.number(),
    name: z.string(),
    value: Real.nullable(),
    is_machine: Flag,
    wall_time: z.string(),
  })
  .transform(
    ({ entry, step, name, value, is_machine, wall_time }): MetricRecord => ({
      entry,
      step,
      name,
      value: value ?? Number.NaN,
      isMachine: is_machine,
      wallTime: wall_time,
    }),
  );

const CheckpointRow = z
  .object({
    step: z.number(),
    path: z.string(),
    score: Real.nullable(),
    size_bytes: z.number(),
    content_hash: z.string(),
    is_kept: Flag,
  })
  .transform(
    ({ step, path, score, size_bytes, content_hash, is_kept }): CheckpointRecord => ({
      step,
      path,
      score,
      sizeBytes: size_bytes,
      contentHash: content_hash,
      isKept: is_kept,
    }),
  );

const EventRow = z
  .object({ kind: z.string(), detail: Json, wall_time: z.string() })
  .transform(({ kind, detail, wall_time }): EventRecord => ({ kind, detail, wallTime: wall_time }));

/** All runs, oldest first. */
export function readRuns(database: StoreDatabase): RunRecord[] {
  return database.rows("SELECT * FROM runs ORDER BY created, rowid").map((row) => RunRow.parse(row));
}

/** The run called `id`. @throws UserError naming the runs there are. */
export function readRun(database: StoreDatabase, id: string): RunRecord {
  const row = database.rows("SELECT * FROM runs WHERE id = ?", id)[0];
  if (row !== undefined) return RunRow.parse(row);
  const known = readRuns(database).map((run) => run.id);
  const some = known.length === 0 ? "none yet" : known.slice(-8).join(", ");
  throw new UserError(
    `Cannot find run "${id}": the store does not have it, expected one of its runs (${some})`,
  );
}

/** In the order they were logged. */
export function readMetrics(database: StoreDatabase, run: string): MetricRecord[] {
  return database
    .rows("SELECT * FROM metrics WHERE run = ? ORDER BY entry, rowid", run)
    .map((row) => MetricRow.parse(row));
}

/** In the order of their steps, dropped ones included. */
export function readCheckpoints(database: StoreDatabase, run: string): CheckpointRecord[] {
  return database
    .rows("SELECT * FROM checkpoints WHERE run = ? ORDER BY step", run)
    .map((row) => CheckpointRow.parse(row));
}

export function readEvents(database: StoreDatabase, run: string): EventRecord[] {
  return database
    .rows("SELECT * FROM events WHERE run = ? ORDER BY id", run)
    .map((row) => EventRow.parse(row));
}
