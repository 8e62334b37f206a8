/** Rows of training data: read, mapped, tokenised with their loss mask, checked, split and put in order. */
export { type Batch, type BatchPlan, createBatchPlan, DataCursor, epochOrder, START } from "./batches.js";
export { checkDataset, type DatasetLimits } from "./checks.js";
export { closestName, editDistance } from "./closest-name.js";
export { type ColumnMapping, mapColumns, templateColumns } from "./columns.js";
export {
  type Dataset,
  type DatasetStatistics,
  hashRows,
  type LoadDatasetOptions,
  loadDataset,
  supervisedCount,
} from "./dataset.js";
export {
  type Example,
  type MessagesExample,
  type PromptCompletionExample,
  readExamples,
  type Shape,
  type TextExample,
} from "./examples.js";
export { type JsonlOptions, type JsonlRow, readJsonl } from "./jsonl.js";
export { type PreviewOptions, previewRows } from "./preview.js";
export { describeIssue, describeValue, formatPath, type SchemaIssue } from "./schema-issue.js";
export { type Split, sharedPrompts, splitByPrompt } from "./split.js";
export {
  type TokenizedExample,
  type TokenizeOptions,
  type TrainingRow,
  type TrainOn,
  type TruncationPolicy,
  tokenizeExample,
} from "./tokenize.js";
