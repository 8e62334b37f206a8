/** Measures frozen policies, with error bars. */
export {
  type BootstrapOptions,
  type PairedDifference,
  pairedBootstrap,
} from "./metrics/paired-bootstrap.js";
export {
  COMPONENTS,
  type Component,
  type ComponentScore,
  type ComponentScores,
  type ExactMatch,
  exactMatch,
} from "./metrics/spider-exact-match.js";
export { type Proportion, wilsonInterval } from "./metrics/wilson.js";
export { compareModels, type ModelDifference } from "./report/comparison.js";
export { formatHtml } from "./report/html.js";
export { formatMarkdown, type ReportOptions, type ReportTable } from "./report/markdown.js";
export { writeSpiderReport } from "./report/write-report.js";
export {
  formatRewardReport,
  type RewardReport,
  rewardReport,
  type ScoredPair,
} from "./reward-model/reward-report.js";
export { canonicalQuery, foreignKeyMap, type KeyMap } from "./spider/canonical.js";
export {
  ERROR_CLASSES,
  ERROR_MEANINGS,
  type ErrorClass,
  type ErrorFinding,
} from "./spider/error-analysis.js";
export { evaluateSpider, type SpiderEvaluation } from "./spider/evaluate.js";
export {
  LEVELS,
  type Level,
  type LevelReport,
  levelsOf,
  type SpiderItem,
  type SpiderReport,
  spiderReport,
} from "./spider/report.js";
export { parseSpiderItems } from "./spider/saved-items.js";
