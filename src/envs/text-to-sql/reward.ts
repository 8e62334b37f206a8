/**
 * What an answer earns: execution (does it give what the gold query gives?), partial credit, format and length, as
 * shares of their weights; the gold answer earns exactly 1. Pure: the executing is done before.
 *
 * Execution alone is the default. Partial credit is for measuring: where most groups hold no right answer it is all
 * there is to learn from, and has collapsed training (docs/environments.md).
 */
import {
  formatGrade,
  type Grade,
  invalidReward,
  lengthGrade,
  type ReadAnswer,
  type RewardOutcome,
  weightedReward,
} from "../../rewards/index.js";
import type { DatabaseSchema } from "./data/index.js";
import { queryOverlap } from "./overlap.js";
import type { SqlComparison, SqlFailure, SqlPreview, SqlValue } from "./sql/index.js";
import { sqlTokens } from "./sql/index.js";

export interface SqlRewardWeights {
  readonly execution: number;
  readonly partial: number;
  readonly format: number;
  readonly length: number;
}

export interface SqlRewardInput {
  readonly answer: ReadAnswer;
  readonly isTruncated: boolean;
  /** What running both queries gave; undefined when there was nothing to run. */
  readonly comparison: SqlComparison | undefined;
  /** The gold answer's SQL, read as the policy's is. */
  readonly gold: string;
  readonly schema: DatabaseSchema;
  readonly weights: SqlRewardWeights;
}

/** A wrong answer's share of partial credit at most, however much it resembles the gold query. */
const MOST_PARTIAL = 0.9;
/** Lengths in characters: twice the gold query and a little is fine, four times is nothing. */
const bandOf = (gold: string) => ({ full: 2 * gold.length + 40, zero: 4 * gold.length + 160 });

/** An answer that is empty or cut off earns nothing; a grader that failed makes the reward invalid. */
export function sqlReward(input: SqlRewardInput): RewardOutcome {
  const { answer, comparison, weights } = input;
  if (comparison?.kind === "invalid") return invalidReward(comparison.message, "sandbox");
  const nothing = nothingToGrade(input);
  const grade = (graded: () => Grade): Grade =>
    nothing === undefined ? graded() : { score: 0, evidence: nothing };
  const isRight = comparison?.isMatch === true;
  return weightedReward([
    { name: "execution", weight: weights.execution, grade: grade(() => executionGrade(comparison)) },
    {
      name: "partial",
      weight: weights.partial,
      grade: grade(() => (isRight ? { score: 1 } : partialGrade(input))),
    },
    { name: "format", weight: weights.format, grade: grade(() => formatGrade(checkedStatement(answer))) },
    {
      name: "length",
      weight: weights.length,
      grade: grade(() => lengthGrade(answer.answer.length, bandOf(input.gold))),
    },
  ]);
}

/** Why there is nothing to run, if so. */
export function nothingToGrade({
  answer,
  isTruncated,
}: Pick<SqlRewardInput, "answer" | "isTruncated">): string | undefined {
  if (isTruncated) return "cut off at the token limit";
  return answer.answer.trim() === "" ? "there is no SQL" : undefined;
}

/** The answer with its statement looked at: one statement, and one that reads. */
function checkedStatement(answer: ReadAnswer): ReadAnswer {
  if (answer.problem !== undefined) return answer;
  const tokens = sqlTokens(answer.answer);
  const end = tokens.findIndex(({ kind, value }) => kind === "symbol" && value === ";");
  const isOne = end === -1 || tokens.slice(end).every(({ value }) => value === ";");
  if (!isOne) return { ...answer, problem: "several statements, expected one" };
  const [first] = tokens;
  const reads = first?.kind === "word" && ["select", "with", "values"].includes(first.value.toLowerCase());
  return reads ? answer : { ...answer, problem: "no SELECT statement" };
}

function executionGrade(comparison: SqlComparison | undefined): Grade {
  if (comparison === undefined) return invalidReward("the statement was not run", "sandbox");
  if (comparison.kind === "invalid") return invalidReward(comparison.message, "sandbox");
  const { isMatch, predicted, gold } = comparison;
  if (isMatch) return { score: 1 };
  return { score: 0, evidence: isFailure(predicted) ? failureText(predicted) : difference(predicted, gold) };
}

function partialGrade({ answer, gold, schema }: SqlRewardInput): Grade {
  const { score, missing, extra } = queryOverlap(answer.answer, gold, schema);
  const evidence = [
    ...(missing.length === 0 ? [] : [`missing ${missing.join(", ")}`]),
    ...(extra.length === 0 ? [] : [`extra ${extra.join(", ")}`]),
  ].join("; ");
  return { score: MOST_PARTIAL * score, ...(evidence === "" ? {} : { evidence }) };
}

export function isFailure(predicted: SqlPreview | SqlFailure): predicted is SqlFailure {
  return predicted.kind !== "rows" && predicted.kind !== "empty";
}

/** `no such column: nme (no_such_column)`. */
export function failureText({ kind, message }: SqlFailure): string {
  return `${message} (${kind})`;
}

function difference(predicted: SqlPreview, gold: SqlPreview): string {
  return `gives ${previewText(predicted)}, expected ${previewText(gold)}`;
}

function previewText({ rowCount, rows }: SqlPreview): string {
  const shown = rows.map((row) => `(${row.map(valueText).join(", ")})`).join(" ");
  const more = rowCount > rows.length ? " …" : "";
  return rowCount === 0 ? "no rows" : `${rowCount} ${rowCount === 1 ? "row" : "rows"} ${shown}${more}`;
}

function valueText(value: SqlValue): string {
  if (value === null) return "null";
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length <= 60 ? text : `${text.slice(0, 59)}…`;
}
