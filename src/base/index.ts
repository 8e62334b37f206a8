/** Needs nothing of ours; every room may import it. */
export {
  CancelledError,
  messageOf,
  ProtocolError,
  type RolloutBoundary,
  RolloutError,
  UserError,
} from "./errors.js";
export { expectShape } from "./expect-shape.js";
export { parseSettings } from "./parse-settings.js";
export { Random, type RandomState } from "./random.js";
export { describeIssue, describeValue, formatPath, type SchemaIssue } from "./schema-issue.js";
export { mean, median, quantile, standardDeviation } from "./statistics.js";
export { zip } from "./zip.js";
