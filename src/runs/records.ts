/** What the run store keeps, as plain records. Times are ISO 8601 in UTC. */
import { z } from "zod";

/**
 * `running` is what the store says while a writer lives, and what a killed writer leaves behind;
 * `RunStore.isLive` tells the two apart.
 */
export const RunStatus = z.enum(["running", "finished", "interrupted", "failed"]);
export type RunStatus = z.infer<typeof RunStatus>;

/** All that is known of a run before its first step. */
export interface RunSpec {
  /** The training method: `sft`. It begins the run's id. */
  readonly method: string;
  /** A title for people. @default the id */
  readonly name?: string;
  /** The resolved configuration: every default filled in. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly seed: number;
  /** Package name to version. */
  readonly versions: Readonly<Record<string, string>>;
  readonly gitCommit?: string | undefined;
  /** Data file to SHA-256 of its content. */
  readonly dataHashes: Readonly<Record<string, string>>;
  /** SHA-256 that identifies the weights the run starts from. */
  readonly modelHash?: string | undefined;
}

export interface RunRecord {
  readonly id: string;
  readonly name: string;
  readonly method: string;
  readonly status: RunStatus;
  readonly created: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly seed: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly gitCommit: string | null;
  readonly dataHashes: Readonly<Record<string, string>>;
  readonly modelHash: string | null;
}

/**
 * One number of one step. Everything but `wallTime` repeats bit for bit when the run is repeated or resumed, unless
 * `isMachine`: rates, durations and memory belong to the machine, not to the training.
 */
export interface MetricRecord {
  /** Metrics logged together share an entry; entries count up from 0. */
  readonly entry: number;
  readonly step: number;
  readonly name: string;
  readonly value: number;
  readonly isMachine: boolean;
  readonly wallTime: string;
}

export interface CheckpointRecord {
  readonly step: number;
  /** Relative to the run's directory. */
  readonly path: string;
  /** Validation loss, lower is better; null where none was measured. */
  readonly score: number | null;
  readonly sizeBytes: number;
  /** SHA-256 over the names and hashes of the checkpoint's files. */
  readonly contentHash: string;
  /** False once retention has dropped its files. */
  readonly isKept: boolean;
}

export interface EventRecord {
  readonly kind: string;
  readonly detail: unknown;
  readonly wallTime: string;
}
