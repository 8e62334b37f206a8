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
export { type ParseOptions, type PromptPlace, parseRecord } from "./records/parse-record.js";
export {
  hashRecords,
  loadRecords,
  promptKey,
  type ReadRecordsOptions,
  type RecordSet,
  readRecords,
  recordKey,
} from "./records/read-records.js";
export { KINDS } from "./records/recognise.js";
export {
  type Answer,
  answersOf,
  type DataRecord,
  type Demonstration,
  outputExample,
  type PreferencePair,
  type PromptRecord,
  pairExamples,
  promptText,
  type RecordKind,
  type RecordNotes,
  type ScoredOutput,
  textOf,
  type UnpairedLabel,
  type Words,
} from "./records/record.js";
export { type DataRow, readRows } from "./rows.js";
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
