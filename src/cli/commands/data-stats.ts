/** `hone data stats`: what a data set holds. */
import {
  dataReport,
  findLineage,
  formatReportMarkdown,
  type Lineage,
  measureRecords,
} from "../../datasets/index.js";
import { figuresOf, type ReadingOptions, readData, tokenCounter, writeReport } from "../data-source.js";
import { createOutput } from "../output.js";

export interface StatsOptions extends ReadingOptions {
  readonly tokenizer?: string;
  readonly output?: string;
}

/** @throws UserError for what the user can mend */
export async function showStats(path: string, options: StatsOptions): Promise<void> {
  const output = createOutput(options);
  const measures = measureRecords(await readData(path, options), tokenCounter(options.tokenizer));
  const lineage = await findLineage(path);
  if (options.output !== undefined) {
    await writeReport(options.output, dataReport(measures), { measures, lineage });
  }
  output.record("stats", { ...figuresOf(measures), ...(lineage === undefined ? {} : { lineage }) });
  output.print(formatReportMarkdown(dataReport(measures)).trimEnd());
  if (lineage !== undefined) output.print(`\n${describe(lineage)}`);
}

function describe({ manifest, part, isUnchanged }: Lineage): string {
  const { source, made } = manifest;
  const lines = part.sourceLines.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`));
  const shown = lines.length > 20 ? [...lines.slice(0, 20), "…"] : lines;
  return `Made by ${made.by} (${JSON.stringify(made.settings)}) from ${part.rows} of ${source.rows} rows of ${source.path} (SHA-256 ${source.fileHash.slice(0, 12)}…), lines ${shown.join(", ")}. ${isUnchanged ? "The file is as it was written." : "THE FILE WAS CHANGED since."}`;
}
