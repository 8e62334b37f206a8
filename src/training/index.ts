/** Training loops and their configuration. They speak the protocol; no loop knows a model or a device. */

export type { CheckResult } from "./checks/index.js";
export { type ConfigKey, configKeys, describeConfig } from "./config-schema.js";
export { type CrossEntropyBatch, crossEntropyBatch, LOSS_FORMULA, lossOf } from "./cross-entropy.js";
export { type DryRunOptions, type DryRunReport, dryRunSft } from "./dry-run.js";
export { type Alarm, GUARD_ACTIONS, GUARDS, type GuardAction } from "./guards/index.js";
export { loadConfig, parseConfig } from "./load-config.js";
export { type MetricDefinition, SFT_METRICS, type SftMetricName, type SftMetrics } from "./metrics.js";
export {
  PREFERENCE_METHODS,
  type PreferenceMethod,
  type PreferenceMethodName,
} from "./preferences/methods.js";
export {
  type LoadPairDataOptions,
  loadPairData,
  type PairData,
  type PairStatistics,
} from "./preferences/pair-data.js";
export type { PairRow } from "./preferences/pair-rows.js";
export {
  CpoConfig,
  DpoConfig,
  OrpoConfig,
  type PreferenceConfig,
  RewardConfig,
  SimpoConfig,
  withAbsolutePreferencePaths,
} from "./preferences/preference-config.js";
export {
  dryRunPreferences,
  type PreferenceDryRunOptions,
  type PreferenceDryRunReport,
  previewPairs,
} from "./preferences/preference-dry-run.js";
export { type RunPreferencesOptions, runPreferences, tokenCount } from "./preferences/preference-loop.js";
export { isPreferenceMetric, LOOP_METRICS, PREFERENCE_METRICS } from "./preferences/preference-metrics.js";
export {
  type ReferencedPairs,
  type ReferenceOptions,
  type ReferenceSource,
  withReference,
} from "./preferences/reference.js";
export type { RunRecorder } from "./recorder.js";
export { loadRlConfig, RlConfig, withAbsoluteRlPaths } from "./rl-config.js";
export {
  type RlLoopConfig,
  type RlProgress,
  type RlRecorder,
  type RlResult,
  type RunRlOptions,
  runRl,
} from "./rl-loop.js";
export { isRlMetric, RL_METRICS } from "./rl-metrics.js";
export { type RolloutSource, rollOut, rollOutStep, type StepRollouts } from "./rl-rollouts.js";
export { learn, type Reference, type UpdateOptions, type UpdateResult } from "./rl-update.js";
export { type LoopProgress, type LoopResult, totalStepsOf } from "./row-loop.js";
export { learningRateAt, SCHEDULES, type Schedule, type ScheduleName, warmupStepsOf } from "./schedule.js";
export { columnMappingOf, loadSftConfig, SftConfig, withAbsolutePaths } from "./sft-config.js";
export { type LoadSftDataOptions, loadSftData, previewSftData, type SftData } from "./sft-data.js";
export {
  type RunSftOptions,
  runSft,
  type SftLoopConfig,
  type SftProgress,
  type SftResult,
} from "./sft-loop.js";
export { type Curriculum, createTaskPlan, TaskCursor, type TaskPlan } from "./task-plan.js";
