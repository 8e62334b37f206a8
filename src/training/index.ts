/** Training loops and their configuration. They speak the protocol; no loop knows a model or a device. */
export { type ConfigKey, configKeys, describeConfig } from "./config-schema.js";
export { type CrossEntropyBatch, crossEntropyBatch, LOSS_FORMULA, lossOf } from "./cross-entropy.js";
export { type DryRunOptions, type DryRunReport, dryRunSft } from "./dry-run.js";
export { loadConfig, parseConfig } from "./load-config.js";
export { type MetricDefinition, SFT_METRICS, type SftMetricName, type SftMetrics } from "./metrics.js";
export type { RunRecorder } from "./recorder.js";
export { learningRateAt, SCHEDULES, type Schedule, type ScheduleName, warmupStepsOf } from "./schedule.js";
export { columnMappingOf, loadSftConfig, SftConfig, withAbsolutePaths } from "./sft-config.js";
export { type LoadSftDataOptions, loadSftData, previewSftData, type SftData } from "./sft-data.js";
export {
  type RunSftOptions,
  runSft,
  type SftLoopConfig,
  type SftProgress,
  type SftResult,
  totalStepsOf,
} from "./sft-loop.js";
