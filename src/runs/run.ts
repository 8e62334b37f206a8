/**
 * One run while it is being written: metrics, events and checkpoints, held under the run's lock. Its promise: after a
 * kill at any instant the run reopens at its last checkpoint with exactly the metrics and rollouts up to that step.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { CheckpointContent } from "./checkpoint-files.js";
import { checkpointName, verifyCheckpoint, writeCheckpoint } from "./checkpoint-files.js";
import type { StoreDatabase } from "./database.js";
import { type Disk, removeTree } from "./disk.js";
import { releaseLock } from "./lock.js";
import { entriesOf, type MetricFiles, openMetricFiles } from "./metric-files.js";
import type { CheckpointRecord, EventRecord, MetricRecord, RunRecord, RunStatus } from "./records.js";
import { stepsToKeep } from "./retention.js";
import type { RolloutFilter, RolloutRecord } from "./rollout-records.js";
import { cutRollouts, nextRolloutEntry, readRollouts, writeRollouts } from "./rollout-rows.js";
import { readCheckpoints, readEvents, readMetrics, readRun } from "./rows.js";

const CHECKPOINTS = "checkpoints";

export interface CheckpointOptions {
  /** Validation loss, lower is better. */
  readonly score?: number | undefined;
  /** How many of the best checkpoints stay on disk besides the latest. @default 1 */
  readonly keepBest?: number;
}

/** A checkpoint whose files were read and found whole. */
export interface VerifiedCheckpoint extends CheckpointRecord {
  readonly directory: string;
}

export interface RunParts {
  readonly database: StoreDatabase;
  readonly disk: Disk;
  readonly now: () => Date;
  readonly id: string;
  readonly directory: string;
}

/** Made by `RunStore.createRun` and `RunStore.resumeRun`, with the lock already taken. */
export class Run {
  readonly id: string;
  readonly directory: string;
  readonly #parts: RunParts;
  readonly #files: MetricFiles;
  #nextEntry: number;
  #isClosed = false;

  constructor(parts: RunParts) {
    this.#parts = parts;
    this.id = parts.id;
    this.directory = parts.directory;
    parts.disk.makeDirectory(join(parts.directory, CHECKPOINTS));
    this.#dropUnrecorded();
    const kept = this.#cutBack();
    this.#files = openMetricFiles(parts.disk, parts.directory, {
      entries: entriesOf(kept),
      now: parts.now(),
    });
    this.#nextEntry = (kept.at(-1)?.entry ?? -1) + 1;
  }

  get record(): RunRecord {
    return readRun(this.#parts.database, this.id);
  }

  /** The step of the latest checkpoint: where a resumed run begins; 0 when there is none. */
  get step(): number {
    return this.#kept().at(-1)?.step ?? 0;
  }

  /**
   * Records numbers of `step` (updates done so far; 0 is before the first). `machine` holds what no repetition
   * reproduces: rates, durations, memory. Metrics of a step are logged before its checkpoint is saved: those that
   * come after would be cut off by a resume.
   */
  logMetrics(
    step: number,
    metrics: Readonly<Record<string, number>>,
    machine: Readonly<Record<string, number>> = {},
  ): void {
    const latest = this.#kept().at(-1)?.step ?? -1;
    if (!Number.isInteger(step) || step <= latest) {
      throw new RangeError(
        `Cannot log metrics of step ${step}: the checkpoint of step ${latest} is already saved, expected a later step`,
      );
    }
    const { database, now } = this.#parts;
    const wallTime = now().toISOString();
    const entry = this.#nextEntry++;
    database.transaction(() => {
      for (const [isMachine, values] of [metrics, machine].entries()) {
        for (const [name, value] of Object.entries(values)) {
          database.write(
            "INSERT INTO metrics (run, entry, step, name, value, is_machine, wall_time) VALUES (?, ?, ?, ?, ?, ?, ?)",
            this.id,
            entry,
            step,
            name,
            value,
            isMachine,
            wallTime,
          );
        }
      }
    }, "ordered");
    this.#files.append({ step, metrics, machine, wallTime });
  }

  /**
   * Records rollouts, all or none of them, in their order. Like metrics, those of a step are logged before its
   * checkpoint is saved, and cut off by a resume from an earlier one.
   */
  logRollouts(rollouts: readonly RolloutRecord[]): void {
    const latest = this.#kept().at(-1)?.step ?? -1;
    const early = rollouts.find(({ step }) => !Number.isInteger(step) || step <= latest);
    if (early !== undefined) {
      throw new RangeError(
        `Cannot log rollouts of step ${early.step}: the checkpoint of step ${latest} is already saved, expected a later step`,
      );
    }
    const { database } = this.#parts;
    database.transaction(
      () => writeRollouts(database, this.id, { entry: nextRolloutEntry(database, this.id), rollouts }),
      "ordered",
    );
  }

  /** Records something that happened or was decided. `detail` must survive JSON. */
  logEvent(kind: string, detail: unknown): void {
    const { database, now } = this.#parts;
    database.transaction(
      () =>
        database.write(
          "INSERT INTO events (run, kind, detail, wall_time) VALUES (?, ?, ?, ?)",
          this.id,
          kind,
          JSON.stringify(detail) ?? "null",
          now().toISOString(),
        ),
      "durable",
    );
  }

  /**
   * Saves a checkpoint of `step`: `write` fills the empty directory it is given. Once this returns the checkpoint
   * survives anything, and older ones that are neither among the best nor the latest are gone.
   */
  async saveCheckpoint(
    step: number,
    write: (directory: string) => Promise<void>,
    { score, keepBest = 1 }: CheckpointOptions = {},
  ): Promise<CheckpointRecord> {
    const latest = this.#kept().at(-1)?.step ?? -1;
    if (!Number.isInteger(step) || step <= latest) {
      throw new RangeError(
        `Cannot save checkpoint of step ${step}: the latest is of step ${latest}, expected a later one`,
      );
    }
    const { disk } = this.#parts;
    const path = `${CHECKPOINTS}/${checkpointName(step)}`;
    const content = await writeCheckpoint(disk, { directory: join(this.directory, path), step }, write);
    this.#files.sync();
    this.#recordCheckpoint({ step, path, score: score ?? null, isKept: true, ...content }, keepBest);
    this.#dropUnrecorded();
    return { step, path, score: score ?? null, isKept: true, ...content };
  }

  /** The latest checkpoint, every byte checked. @throws UserError when a file of it is damaged. */
  latestCheckpoint(): VerifiedCheckpoint | undefined {
    return this.#verified(this.#kept().at(-1));
  }

  /** The checkpoint with the lowest score (the latest when none was scored), every byte checked. */
  bestCheckpoint(): VerifiedCheckpoint | undefined {
    const kept = this.#kept();
    const best = [...stepsToKeep(kept, 1)][0];
    return this.#verified(kept.find(({ step }) => step === best));
  }

  metrics(): MetricRecord[] {
    return readMetrics(this.#parts.database, this.id);
  }

  events(): EventRecord[] {
    return readEvents(this.#parts.database, this.id);
  }

  /** In the order they were logged, read from the store as the caller goes on. */
  rollouts(filter: RolloutFilter = {}): Generator<RolloutRecord> {
    return readRollouts(this.#parts.database, this.id, filter);
  }

  /** Records how the run ended and gives its lock back; nothing can be written afterwards. */
  close(status: Exclude<RunStatus, "running">): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { database, disk } = this.#parts;
    this.#files.sync();
    this.#files.close();
    database.transaction(
      () => database.write("UPDATE runs SET status = ? WHERE id = ?", status, this.id),
      "durable",
    );
    releaseLock(disk, this.directory);
  }

  #recordCheckpoint(record: CheckpointRecord & CheckpointContent, keepBest: number): void {
    const { database } = this.#parts;
    const keep = stepsToKeep([...this.#kept(), record], keepBest);
    database.transaction(() => {
      database.write(
        "INSERT INTO checkpoints (run, step, path, score, size_bytes, content_hash, is_kept) VALUES (?, ?, ?, ?, ?, ?, 1)",
        this.id,
        record.step,
        record.path,
        record.score,
        record.sizeBytes,
        record.contentHash,
      );
      for (const { step } of this.#kept()) {
        if (!keep.has(step)) {
          database.write("UPDATE checkpoints SET is_kept = 0 WHERE run = ? AND step = ?", this.id, step);
        }
      }
    }, "durable");
  }

  /** Removes what no record names: half-written checkpoints, those that retention dropped. */
  #dropUnrecorded(): void {
    const directory = join(this.directory, CHECKPOINTS);
    const kept = new Set(this.#kept().map(({ path }) => path));
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (!kept.has(`${CHECKPOINTS}/${entry.name}`)) {
        removeTree(this.#parts.disk, join(directory, entry.name), entry.isDirectory());
      }
    }
  }

  /**
   * Forgets checkpoints whose directory is gone, and all metrics and rollouts after the latest that is left; answers
   * the metrics that stay.
   */
  #cutBack(): MetricRecord[] {
    const { database } = this.#parts;
    database.transaction(() => {
      for (const { step, path } of this.#kept()) {
        if (!existsSync(join(this.directory, path))) {
          database.write("UPDATE checkpoints SET is_kept = 0 WHERE run = ? AND step = ?", this.id, step);
        }
      }
      const latest = this.#kept().at(-1)?.step ?? -1;
      database.write("DELETE FROM checkpoints WHERE run = ? AND step > ?", this.id, latest);
      database.write("DELETE FROM metrics WHERE run = ? AND step > ?", this.id, latest);
      cutRollouts(database, this.id, latest);
    }, "durable");
    return readMetrics(database, this.id);
  }

  #kept(): CheckpointRecord[] {
    return readCheckpoints(this.#parts.database, this.id).filter(({ isKept }) => isKept);
  }

  #verified(record: CheckpointRecord | undefined): VerifiedCheckpoint | undefined {
    if (record === undefined) return undefined;
    const directory = join(this.directory, record.path);
    verifyCheckpoint(directory, record.contentHash);
    return { ...record, directory };
  }
}
