/** The run store: what a run was told, what it measured, where its checkpoints are. Survives a kill at any instant. */
export { sha256, verifyCheckpoint } from "./checkpoint-files.js";
export { holdDirectory } from "./directory-lock.js";
export { nodeDisk, replaceFile } from "./disk.js";
export { crc32c, maskedCrc } from "./event-file.js";
export type { LockHolder } from "./lock.js";
export { METRICS_NAME } from "./metric-files.js";
export { type Provenance, readProvenance } from "./provenance.js";
export {
  type CheckpointRecord,
  type EventRecord,
  type MetricRecord,
  type RunRecord,
  type RunSpec,
  RunStatus,
} from "./records.js";
export { stepsToKeep } from "./retention.js";
export type { RolloutFilter, RolloutRecord, RolloutSpan } from "./rollout-records.js";
export type { CheckpointOptions, Run, VerifiedCheckpoint } from "./run.js";
export { CONFIG_NAME, hasRunStore, openRunStore, type RunStore, type StoreOptions } from "./store.js";
