/** An evaluation as one HTML file: tables, charts and examples, without scripts or anything to load. */
import { COMPONENTS } from "../metrics/spider-exact-match.js";
import { ERROR_CLASSES, ERROR_MEANINGS } from "../spider/error-analysis.js";
import { levelsOf, type SpiderItem, type SpiderReport } from "../spider/report.js";
import { drawCharts } from "./charts.js";
import { compareModels } from "./comparison.js";
import { examplesOf, formatProportion, percent, type ReportOptions, signed } from "./markdown.js";

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1e23}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid #d5d9df;padding:.3rem .7rem;text-align:right}
th:first-child,td:first-child,td.text{text-align:left}
pre{background:#f4f5f7;padding:.6rem .8rem;white-space:pre-wrap;overflow-wrap:anywhere}
figure{margin:1rem 0}svg{max-width:100%;height:auto}.muted{color:#5b6470}`;

export async function formatHtml(
  reports: readonly SpiderReport[],
  options: ReportOptions = {},
): Promise<string> {
  const { title = "Text-to-SQL evaluation", notes = [], summary, examplesPerClass = 2, seed = 0 } = options;
  const levels = levelsOf(reports);
  const charts = await drawCharts(reports);
  const differences = compareModels(reports, seed);
  const levelHeader = levels.map((level) => `${level} (${reports[0]?.levels[level].execution.count ?? 0})`);
  const levelRows = (kind: "execution" | "exact"): string[][] =>
    reports.map((report) => [
      report.model,
      ...levels.map((level) => formatProportion(report.levels[level][kind])),
    ]);
  const body = [
    `<h1>${escaped(title)}</h1>`,
    ...notes.map((note) => `<p class="muted">${escaped(note)}</p>`),
    ...(summary === undefined ? [] : [table(summary.header, summary.rows)]),
    "<h2>Execution accuracy by hardness</h2>",
    `<figure><div role="img" aria-label="Bars of execution accuracy by hardness; the table below has the numbers">${charts.accuracy}</div><figcaption class="muted">Per cent, with Wilson intervals of 95 %.</figcaption></figure>`,
    table(["model", ...levelHeader], levelRows("execution")),
    "<h2>Exact set match by hardness</h2>",
    table(["model", ...levelHeader], levelRows("exact")),
    ...(differences.length === 0
      ? []
      : [
          "<h2>Differences in execution accuracy</h2>",
          '<p class="muted">Points, with paired bootstrap intervals of 95 %.</p>',
          table(
            ["models", ...levels, "better on", "worse on"],
            differences.map(({ model, baseline, execution, gained, lost }) => [
              `${model} − ${baseline}`,
              ...levels.map((level) => {
                const one = execution[level];
                return one === undefined
                  ? "–"
                  : `${signed(one.difference)} [${signed(one.low)}, ${signed(one.high)}]`;
              }),
              `${gained.length}`,
              `${lost.length}`,
            ]),
          ),
        ]),
    "<h2>Components</h2>",
    '<p class="muted">F1 of exact match, all levels.</p>',
    table(
      ["component", ...reports.map(({ model }) => model)],
      COMPONENTS.map((component) => [
        component,
        ...reports.map(({ levels }) => percent(levels.all.components[component].f1)),
      ]),
    ),
    "<h2>Errors</h2>",
    `<figure><div role="img" aria-label="Bars of wrong predictions by class; the table below has the numbers">${charts.errors}</div></figure>`,
    table(
      ["class", ...reports.map(({ model }) => model), "the prediction"],
      ERROR_CLASSES.filter((kind) => reports.some(({ errors }) => errors[kind] > 0)).map((kind) => [
        kind.replaceAll("_", " "),
        ...reports.map(({ errors }) => `${errors[kind]}`),
        ERROR_MEANINGS[kind],
      ]),
    ),
    ...reports
      .filter(({ invalid }) => invalid > 0)
      .map(
        ({ model, invalid }) => `<p>${escaped(model)}: ${invalid} comparisons failed and count nowhere.</p>`,
      ),
    ...reports.flatMap((report) => [
      `<h2>Wrong predictions of ${escaped(report.model)}</h2>`,
      ...examplesOf(report, examplesPerClass).map(example),
    ]),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title><style>${STYLE}</style></head>
<body>
${body.join("\n")}
</body></html>
`;
}

function example(item: SpiderItem): string {
  return `<details><summary><b>${escaped(item.error?.class.replaceAll("_", " ") ?? "")}</b> · ${escaped(item.database)} · ${item.hardness}: ${escaped(item.question)}</summary>
<pre>${escaped(`-- gold\n${item.gold}\n-- predicted\n${item.predicted}`)}</pre><p class="muted">${escaped(item.id)}: ${escaped(item.error?.evidence ?? "")}</p></details>`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[], tag: "th" | "td"): string =>
    `<tr>${row.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("")}</tr>`;
  return `<table><thead>${cells(header, "th")}</thead><tbody>${rows.map((row) => cells(row, "td")).join("")}</tbody></table>`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** What a model wrote must not become markup. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => ENTITIES[sign]!);
}
