/**
 * Rows of training data: read, mapped, tokenised with their loss mask, checked, split and put in order. Records beyond
 * supervised examples (preferences, labels, scores, prompts), their quality, and the agreement of who judged them.
 */
export { cohenKappa, type PairAgreement } from "./agreement/cohen-kappa.js";
export {
  type Agreement,
  type Comparison,
  type ComparisonSet,
  measureAgreement,
  readComparisons,
  type Vote,
} from "./agreement/comparisons.js";
export { fleissKappa, type GroupAgreement } from "./agreement/fleiss-kappa.js";
export { type MajorityPair, type MajorityPairs, majorityOf, pairsByMajority } from "./agreement/majority.js";
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
export { type DataDiff, type Difference, diffRecords } from "./diff-records.js";
export {
  type Example,
  type MessagesExample,
  type PromptCompletionExample,
  readExamples,
  type Shape,
  type TextExample,
} from "./examples.js";
export { type JsonlOptions, type JsonlRow, readJsonl } from "./jsonl.js";
export { DatasetManifest, findLineage, type Lineage, MANIFEST_FILE, writeParts } from "./lineage.js";
export { type PreviewOptions, previewRows } from "./preview.js";
export { checkRecords, type DataCheck, type DataLimits } from "./quality/check-records.js";
export { type Consistency, measureConsistency } from "./quality/consistency.js";
export { type CategoryShare, type CoverageTargets, categoryCoverage } from "./quality/coverage.js";
export {
  type ContaminatedRow,
  type Decontamination,
  type EvaluationText,
  findContamination,
  readEvaluationTexts,
} from "./quality/decontamination.js";
export {
  DEGENERACIES,
  type Degeneracy,
  type DegenerateAnswer,
  faultsOf,
  findDegenerate,
} from "./quality/degenerate.js";
export {
  type DuplicateOptions,
  type Duplicates,
  findDuplicates,
  textSimilarity,
} from "./quality/duplicates.js";
export { type LengthSummary, type Lengths, measureLengths, type TextMeasure } from "./quality/lengths.js";
export { type DataMeasures, type MeasureOptions, measureRecords } from "./quality/measure.js";
export { type PreferenceGap, preferenceGap } from "./quality/preference-gap.js";
export { type ParseRecordOptions, type PromptPlace, parseRecord } from "./records/parse-record.js";
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
  type AnswerText,
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
export { agreementRows, dataReport } from "./report/data-report.js";
export { type DataReport, formatReportHtml, formatReportMarkdown } from "./report/document.js";
export { type DataRow, readRows } from "./rows.js";
export { type Split, sharedPrompts, splitByPrompt } from "./split.js";
export { type SplitShares, splitRecords } from "./split-records.js";
export {
  type TokenizedExample,
  type TokenizeOptions,
  type TrainingRow,
  type TrainOn,
  type TruncationPolicy,
  tokenizeExample,
} from "./tokenize.js";
