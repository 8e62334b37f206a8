/** What the commands of `hone data` share: reading a file as its options say, and writing a report. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/index.js";
import {
  type DataMeasures,
  type DataReport,
  formatReportHtml,
  formatReportMarkdown,
  loadRecords,
  type PromptPlace,
  type RecordKind,
  type RecordSet,
  type TextMeasure,
} from "../datasets/index.js";
import { loadTokenizer } from "../text/index.js";
import type { OutputOptions } from "./output.js";

export interface ReadingOptions extends OutputOptions {
  readonly kind?: RecordKind;
  readonly columns?: Readonly<Record<string, string>>;
  readonly promptIn: PromptPlace;
}

export function readData(path: string, { kind, columns, promptIn }: ReadingOptions): Promise<RecordSet> {
  return loadRecords(path, {
    promptIn,
    ...(kind === undefined ? {} : { kind }),
    ...(columns === undefined ? {} : { mapping: { columns } }),
  });
}

/** Counts the tokens of a text; without a tokenizer there is nothing to count with. */
export function tokenCounter(tokenizer: string | undefined): { countTokens?: TextMeasure } {
  if (tokenizer === undefined) return {};
  const loaded = loadTokenizer(tokenizer);
  return { countTokens: (text) => loaded.encode(text).length };
}

/** Writes `report.md`, `report.html` and `report.json` to a directory. */
export async function writeReport(
  directory: string,
  report: DataReport,
  { measures, ...numbers }: { readonly measures: DataMeasures } & Readonly<Record<string, unknown>>,
): Promise<void> {
  const html = await formatReportHtml(report);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "report.md"), formatReportMarkdown(report));
  writeFileSync(join(directory, "report.html"), html);
  writeFileSync(
    join(directory, "report.json"),
    `${JSON.stringify({ measures: figuresOf(measures), ...numbers }, null, 1)}\n`,
  );
}

/** Writes a file that is not there yet. */
export function writeNewFile(path: string, text: string): void {
  if (existsSync(path)) {
    throw new UserError(`Cannot write ${path}: it already exists, expected a new file`);
  }
  writeFileSync(path, text);
}

/** Measures without the length of every single text, which is for charts. */
export function figuresOf(measures: DataMeasures): Readonly<Record<string, unknown>> {
  const { lengths, ...figures } = measures;
  const { values: _, ...summary } = lengths;
  return { ...figures, lengths: summary };
}
