/** An evaluation as Markdown: tables for people and for pull requests. */
import { COMPONENTS } from "../metrics/spider-exact-match.js";
import type { Proportion } from "../metrics/wilson.js";
import { ERROR_CLASSES, ERROR_MEANINGS } from "../spider/error-analysis.js";
import { type Level, levelsOf, type SpiderItem, type SpiderReport } from "../spider/report.js";
import { compareModels, type ModelDifference } from "./comparison.js";

export interface ReportTable {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface ReportOptions {
  /** @default "Text-to-SQL evaluation" */
  readonly title?: string;
  /** Lines under the title: data, settings, what the numbers may not be compared with. */
  readonly notes?: readonly string[];
  /** Stands before everything else. */
  readonly summary?: ReportTable;
  /** Wrong predictions shown per class and model. @default 2 */
  readonly examplesPerClass?: number;
  /** Of the bootstrap. @default 0 */
  readonly seed?: number;
}

export function formatMarkdown(reports: readonly SpiderReport[], options: ReportOptions = {}): string {
  const { title = "Text-to-SQL evaluation", notes = [], summary, examplesPerClass = 2, seed = 0 } = options;
  const levels = levelsOf(reports);
  const sections = [
    `# ${title}`,
    ...notes.map(escaped),
    ...(summary === undefined ? [] : [table(summary.header, summary.rows)]),
    "## Execution accuracy by hardness",
    "Intervals of 95 % (Wilson).",
    levelTable(reports, levels, ({ execution }) => execution),
    "## Exact set match by hardness",
    levelTable(reports, levels, ({ exact }) => exact),
    ...differenceSection(compareModels(reports, seed), levels),
    "## Components (F1 of exact match, all levels)",
    table(
      ["component", ...reports.map(({ model }) => model)],
      COMPONENTS.map((component) => [
        component,
        ...reports.map(({ levels }) => percent(levels.all.components[component].f1)),
      ]),
    ),
    "## Errors",
    table(
      ["class", "the prediction", ...reports.map(({ model }) => model)],
      ERROR_CLASSES.filter((kind) => reports.some(({ errors }) => errors[kind] > 0)).map((kind) => [
        kind,
        ERROR_MEANINGS[kind],
        ...reports.map(({ errors }) => `${errors[kind]}`),
      ]),
    ),
    ...reports
      .filter(({ invalid }) => invalid > 0)
      .map(({ model, invalid }) => `${escaped(model)}: ${invalid} comparisons failed and count nowhere.`),
    ...reports.flatMap((report) => exampleSection(report, examplesPerClass)),
  ];
  return `${sections.join("\n\n")}\n`;
}

/** `61.2 [58.2, 64.1]`, in per cent. */
export function formatProportion({ value, low, high, count }: Proportion): string {
  return count === 0 ? "–" : `${percent(value)} [${percent(low)}, ${percent(high)}]`;
}

export const percent = (fraction: number): string => (fraction * 100).toFixed(1);
export const signed = (fraction: number): string =>
  `${fraction >= 0 ? "+" : "−"}${percent(Math.abs(fraction))}`;

/** Wrong predictions to show, the first of each class. */
export function examplesOf({ items }: SpiderReport, perClass: number): readonly SpiderItem[] {
  return ERROR_CLASSES.flatMap((kind) =>
    items.filter(({ error }) => error?.class === kind).slice(0, perClass),
  );
}

function levelTable(
  reports: readonly SpiderReport[],
  shown: readonly Level[],
  shareOf: (level: SpiderReport["levels"]["all"]) => Proportion,
): string {
  return table(
    ["model", ...shown.map((level) => `${level} (${reports[0]?.levels[level].execution.count ?? 0})`)],
    reports.map(({ model, levels }) => [
      model,
      ...shown.map((level) => formatProportion(shareOf(levels[level]))),
    ]),
  );
}

function differenceSection(differences: readonly ModelDifference[], shown: readonly Level[]): string[] {
  if (differences.length === 0) return [];
  return [
    "## Differences in execution accuracy",
    "Points, with paired bootstrap intervals of 95 %.",
    table(
      ["models", ...shown, "better on", "worse on"],
      differences.map(({ model, baseline, execution, gained, lost }) => [
        `${model} − ${baseline}`,
        ...shown.map((level) => {
          const one = execution[level];
          return one === undefined
            ? "–"
            : `${signed(one.difference)} [${signed(one.low)}, ${signed(one.high)}]`;
        }),
        `${gained.length}`,
        `${lost.length}`,
      ]),
    ),
  ];
}

function exampleSection(report: SpiderReport, perClass: number): string[] {
  const examples = examplesOf(report, perClass);
  if (examples.length === 0) return [];
  return [
    `## Wrong predictions of ${escaped(report.model)}`,
    ...examples.map((item) =>
      [
        `**${item.error?.class}** · ${item.id} · ${escaped(item.database)} · ${item.hardness}: ${escaped(item.question)}`,
        fenced(`-- gold\n${item.gold}\n-- predicted\n${item.predicted}`),
        escaped(item.error?.evidence ?? ""),
      ].join("\n\n"),
    ),
  ];
}

/** A fence longer than any run of backticks in the text. */
function fenced(text: string): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map(({ length }) => length));
  const fence = "`".repeat(longest + 1);
  return `${fence}sql\n${text}\n${fence}`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(escaped).join(" | ")} |`;
  return [
    line(header),
    `|${header.map((_, i) => (i === 0 ? "---" : "---:")).join("|")}|`,
    ...rows.map(line),
  ].join("\n");
}

/** What a model wrote must not become markup. Brackets do no harm but before a parenthesis. */
function escaped(text: string): string {
  return text
    .replace(/[\\`*_|]|\](?=\()/g, (sign) => `\\${sign}`)
    .replaceAll("<", "&lt;")
    .replace(/\s*\n\s*/g, " ");
}
