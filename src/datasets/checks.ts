/** What must be true of the data before the first step: that it teaches something, and that it teaches to stop. */
import { UserError } from "../base/index.js";
import type { Dataset } from "./dataset.js";

export interface DatasetLimits {
  /** @default 0.05 */
  readonly maxUnsupervisedFraction?: number;
  /** Takes data in which no end of text or of turn is ever trained on. @default false */
  readonly allowNoEos?: boolean;
}

/**
 * Refuses data that would train little or badly; returns sentences worth a warning.
 *
 * @throws UserError with the counts, an example's place and the remedy.
 */
export function checkDataset(dataset: Dataset, limits: DatasetLimits = {}): string[] {
  const { maxUnsupervisedFraction = 0.05, allowNoEos = false } = limits;
  const { path, trainOn, statistics } = dataset;
  const { rows, unsupervisedRows, truncatedRows, droppedTokens, rowsThatEnd, boundaryMerges } = statistics;
  const truncation =
    truncatedRows === 0
      ? ""
      : ` (${truncatedRows} rows were truncated: a larger maxLength or another truncation may keep what is trained on)`;
  if (unsupervisedRows.count > maxUnsupervisedFraction * rows || dataset.rows.length === 0) {
    throw new UserError(
      `Cannot train on ${path}: ${unsupervisedRows.count} of ${rows} rows (${percent(unsupervisedRows.count, rows)}) have no token to train on, expected at most ${percent(maxUnsupervisedFraction, 1)} (data.maxUnsupervisedFraction); the first is ${path}:${unsupervisedRows.example}${truncation}. ${WHAT_HAS_A_LOSS[trainOn]}`,
    );
  }
  if (rowsThatEnd === 0 && !allowNoEos) {
    throw new UserError(
      `Cannot train on ${path}: none of ${rows} rows trains on an end of text or end of turn, expected at least one; a model so trained never stops${truncation}. Leave data.addEos on, or set data.allowNoEos to true if this is meant`,
    );
  }
  const warnings: string[] = [];
  if (unsupervisedRows.count > 0) {
    warnings.push(
      `${unsupervisedRows.count} of ${rows} rows (${percent(unsupervisedRows.count, rows)}) of ${path} have no token to train on and are left out; the first is line ${unsupervisedRows.example}`,
    );
  }
  if (truncatedRows > 0) {
    warnings.push(
      `${truncatedRows} of ${rows} rows (${percent(truncatedRows, rows)}) of ${path} were truncated and lost ${droppedTokens} tokens`,
    );
  }
  if (rowsThatEnd < dataset.rows.length && rowsThatEnd > 0) {
    const missing = dataset.rows.length - rowsThatEnd;
    warnings.push(
      `${missing} of ${rows} rows (${percent(missing, rows)}) of ${path} train on no end of text or end of turn`,
    );
  }
  if (boundaryMerges > 0) {
    warnings.push(
      `In ${boundaryMerges} of ${rows} rows (${percent(boundaryMerges, rows)}) of ${path} the end of the prompt and the start of the completion would make one token; they were tokenised apart. Begin completions, not end prompts, with the space`,
    );
  }
  return warnings;
}

const WHAT_HAS_A_LOSS = {
  completions: 'With trainOn "completions" only completions are trained on: are they empty?',
  assistant: 'With trainOn "assistant" only messages of role "assistant" are trained on: are there any?',
  all: "A row needs at least two tokens",
} as const;

function percent(part: number, whole: number): string {
  return `${Number(((100 * part) / whole).toFixed(1))} %`;
}
