/** Text to SQL: questions about databases, answered by statements that are executed. */
export { parseTextToSqlConfig, TextToSqlConfig, type TextToSqlConfigInput } from "./config.js";
export * from "./data/index.js";
export { createSqlPrompt, createTextToSql, openTextToSql, type TextToSqlSource } from "./env.js";
export { type Overlap, queryOverlap } from "./overlap.js";
export type { SqlPrompt } from "./prompt.js";
export { type SqlRewardInput, type SqlRewardWeights, sqlReward } from "./reward.js";
export { createSchemaPrompt, describeDatabase, type SchemaPromptOptions } from "./schema-prompt.js";
export {
  createSqlExecutor,
  hasRows,
  resultsMatch,
  type SqlCallOptions,
  type SqlComparison,
  type SqlExecutor,
  type SqlExecutorOptions,
  type SqlFailure,
  type SqlFailureKind,
  type SqlOutcome,
  type SqlRow,
  type SqlValue,
} from "./sql/index.js";
