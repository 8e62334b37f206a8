/** The run store of a project: `.hone/store.sqlite` beside `runs/<id>/`. Creates, resumes and lists runs. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { UserError } from "../base/index.js";
import { openDatabase, type StoreDatabase } from "./database.js";
import { type Disk, nodeDisk, replaceFile } from "./disk.js";
import { type LockHolder, liveHolder, takeLock } from "./lock.js";
import type { CheckpointRecord, EventRecord, MetricRecord, RunRecord, RunSpec } from "./records.js";
import type { RolloutFilter, RolloutRecord } from "./rollout-records.js";
import { readRollouts } from "./rollout-rows.js";
import { readCheckpoints, readEvents, readMetrics, readRun, readRuns } from "./rows.js";
import { Run } from "./run.js";

export interface StoreOptions {
  /** @default the machine's clock */
  readonly now?: () => Date;
  /** @default the machine's file system */
  readonly disk?: Disk;
}

/** The run's configuration as it was resolved before the first step; it alone repeats the run. */
export const CONFIG_NAME = "config.resolved.yaml";

/** Opens the store of `projectDirectory`, making it where there is none. Several processes may. */
export function openRunStore(projectDirectory: string, options: StoreOptions = {}): RunStore {
  return new RunStore(resolve(projectDirectory), options);
}

/** Whether `projectDirectory` has a store; asking does not make one. */
export function hasRunStore(projectDirectory: string): boolean {
  return existsSync(storePath(projectDirectory));
}

export class RunStore {
  readonly projectDirectory: string;
  readonly #database: StoreDatabase;
  readonly #disk: Disk;
  readonly #now: () => Date;

  constructor(projectDirectory: string, { now = () => new Date(), disk = nodeDisk }: StoreOptions) {
    this.projectDirectory = projectDirectory;
    this.#database = openDatabase(storePath(projectDirectory));
    this.#disk = disk;
    this.#now = now;
  }

  /** Records a new run, makes its directory and answers its writer. Ids count up: `sft-1`, `sft-2`. */
  createRun(spec: RunSpec): Run {
    const created = this.#now().toISOString();
    const id = this.#database.transaction(() => {
      const id = this.#freeId(spec.method);
      this.#database.write(
        "INSERT INTO runs VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?)",
        id,
        spec.name ?? id,
        spec.method,
        created,
        JSON.stringify(spec.config),
        spec.seed,
        JSON.stringify(spec.versions),
        spec.gitCommit ?? null,
        JSON.stringify(spec.dataHashes),
        spec.modelHash ?? null,
      );
      this.#disk.makeDirectory(this.directoryOf(id));
      takeLock(this.#disk, this.directoryOf(id), created);
      return id;
    }, "durable");
    return this.#writer(id);
  }

  /**
   * Reopens a run at its latest checkpoint: leftovers of a kill are removed, and metrics after that step are cut off
   * in the store and in both files.
   *
   * @throws UserError when there is no such run, it is finished, or another process writes to it.
   */
  resumeRun(id: string): Run {
    const directory = this.directoryOf(id);
    this.#database.transaction(() => {
      this.stoppedRun(id);
      this.#disk.makeDirectory(directory);
      takeLock(this.#disk, directory, this.#now().toISOString());
      this.#database.write("UPDATE runs SET status = 'running' WHERE id = ?", id);
    }, "durable");
    return this.#writer(id);
  }

  /** The record of a run that can be resumed. @throws UserError when there is none or it is finished */
  stoppedRun(id: string): RunRecord {
    const run = this.run(id);
    if (run.status !== "finished") return run;
    throw new UserError(`Cannot resume run "${id}": it is finished, expected one that was stopped`);
  }

  /** Oldest first. */
  runs(): RunRecord[] {
    return readRuns(this.#database);
  }

  /** @throws UserError when there is no such run. */
  run(id: string): RunRecord {
    return readRun(this.#database, id);
  }

  /** The process writing to the run now. A run that is `running` without one was killed. */
  writerOf(id: string): LockHolder | undefined {
    return liveHolder(this.directoryOf(id));
  }

  /** In the order they were logged. */
  metrics(id: string): MetricRecord[] {
    return readMetrics(this.#database, this.run(id).id);
  }

  /** In the order of their steps. */
  checkpoints(id: string): CheckpointRecord[] {
    return readCheckpoints(this.#database, this.run(id).id);
  }

  events(id: string): EventRecord[] {
    return readEvents(this.#database, this.run(id).id);
  }

  /** In the order they were logged, read from the store as the caller goes on. */
  rollouts(id: string, filter: RolloutFilter = {}): Generator<RolloutRecord> {
    return readRollouts(this.#database, this.run(id).id, filter);
  }

  directoryOf(id: string): string {
    return join(this.projectDirectory, "runs", id);
  }

  close(): void {
    this.#database.close();
  }

  #writer(id: string): Run {
    const directory = this.directoryOf(id);
    const { config } = this.run(id);
    replaceFile(this.#disk, directory, CONFIG_NAME, stringify(config));
    return new Run({ database: this.#database, disk: this.#disk, now: this.#now, id, directory });
  }

  /** A directory without a record (its store was removed) is never written over. */
  #freeId(method: string): string {
    const taken = new Set(this.runs().map(({ id }) => id));
    for (let number = 1; ; number++) {
      const id = `${method}-${number}`;
      if (!taken.has(id) && !existsSync(this.directoryOf(id))) return id;
    }
  }
}

function storePath(projectDirectory: string): string {
  return join(projectDirectory, ".hone", "store.sqlite");
}
