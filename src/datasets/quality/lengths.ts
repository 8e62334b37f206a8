/** How long prompts and answers are, in characters, or in tokens where a tokenizer counts them. */
import { mean, quantile } from "../../base/index.js";
import { answersOf, type DataRecord, promptText } from "../records/record.js";

/** The length of one text. */
export type TextMeasure = (text: string) => number;

export interface LengthSummary {
  readonly count: number;
  readonly min: number;
  readonly mean: number;
  readonly median: number;
  readonly p95: number;
  readonly max: number;
  /** The line of the longest. */
  readonly longest: number;
}

export type Part = "prompt" | "chosen" | "rejected" | "completion";

export interface Lengths {
  readonly unit: "characters" | "tokens";
  readonly parts: Readonly<Partial<Record<Part, LengthSummary>>>;
  /** Every length with its line, for histograms and limits. */
  readonly values: Readonly<Partial<Record<Part, readonly LineLength[]>>>;
}

export interface LineLength {
  readonly line: number;
  readonly length: number;
}

/** Characters are Unicode code points. A chat's template is not counted. */
export function measureLengths(records: readonly DataRecord[], countTokens?: TextMeasure): Lengths {
  const measure: TextMeasure = countTokens ?? ((text) => [...text].length);
  const values: Partial<Record<Part, LineLength[]>> = {};
  const add = (part: Part, line: number, text: string): void => {
    const list = values[part] ?? [];
    values[part] = list;
    list.push({ line, length: measure(text) });
  };
  for (const record of records) {
    const isText = record.kind === "demonstration" && record.example.shape === "text";
    if (!isText) add("prompt", record.line, promptText(record));
    for (const { role, text } of answersOf(record)) add(role, record.line, text);
  }
  const parts: Partial<Record<Part, LengthSummary>> = {};
  for (const part of PARTS) {
    const list = values[part];
    if (list !== undefined) parts[part] = summarise(list);
  }
  return { unit: countTokens === undefined ? "characters" : "tokens", parts, values };
}

export const PARTS: readonly Part[] = ["prompt", "chosen", "rejected", "completion"];

function summarise(list: readonly LineLength[]): LengthSummary {
  const lengths = list.map(({ length }) => length);
  return {
    count: list.length,
    min: quantile(lengths, 0),
    mean: mean(lengths),
    median: quantile(lengths, 0.5),
    p95: quantile(lengths, 0.95),
    max: quantile(lengths, 1),
    longest: list.reduce((a, b) => (b.length > a.length ? b : a)).line,
  };
}
