/** Executing and comparing model-written SQL. */
export { readAnyText } from "./any-text.js";
export { readOnlyAddress } from "./connection.js";
export {
  createSqlExecutor,
  type SqlCallOptions,
  type SqlExecutor,
  type SqlExecutorOptions,
} from "./executor.js";
export { type MatchOptions, resultsMatch } from "./match-results.js";
export {
  hasRows,
  type SqlComparison,
  type SqlFailure,
  type SqlFailureKind,
  type SqlInvalid,
  type SqlOutcome,
  type SqlPreview,
  type SqlRow,
  type SqlRows,
  type SqlValue,
} from "./outcome.js";
export { type SqlToken, sqlTokens, type TokenKind } from "./tokens.js";
