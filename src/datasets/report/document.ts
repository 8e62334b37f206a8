/** A report as sections of text, tables and charts, written once and rendered as Markdown or HTML. Knows no data set. */

export interface Section {
  readonly title: string;
  readonly paragraphs?: readonly string[];
  readonly table?: Table;
  readonly chart?: BarChart;
}

export interface Table {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Bars side by side, one group per label. */
export interface BarChart {
  readonly labels: readonly string[];
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
  readonly caption: string;
}

export interface DataReport {
  readonly title: string;
  readonly sections: readonly Section[];
}

/** Charts are left out: Markdown cannot hold them, and the tables say the same. */
export function formatReportMarkdown({ title, sections }: DataReport): string {
  const blocks = sections.flatMap(({ title: heading, paragraphs = [], table }) => [
    `## ${escapeMarkdown(heading)}`,
    ...paragraphs.map(escapeMarkdown),
    ...(table === undefined || table.rows.length === 0 ? [] : [markdownTable(table)]),
  ]);
  return `${[`# ${escapeMarkdown(title)}`, ...blocks].join("\n\n")}\n`;
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1e23}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid #d5d9df;padding:.3rem .7rem;text-align:left;vertical-align:top}
figure{margin:1rem 0}svg{max-width:100%;height:auto}figcaption{color:#5b6470}`;

/** One file without scripts or anything to load. */
export async function formatReportHtml({ title, sections }: DataReport): Promise<string> {
  const body: string[] = [`<h1>${escapeHtml(title)}</h1>`];
  for (const { title: heading, paragraphs = [], table, chart } of sections) {
    body.push(`<h2>${escapeHtml(heading)}</h2>`, ...paragraphs.map((text) => `<p>${escapeHtml(text)}</p>`));
    if (chart !== undefined) {
      const svg = await drawBars(chart);
      body.push(`<figure>${svg}<figcaption>${escapeHtml(chart.caption)}</figcaption></figure>`);
    }
    if (table !== undefined && table.rows.length > 0) body.push(htmlTable(table));
  }
  return `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title><style>${STYLE}</style></head>\n<body>\n${body.join("\n")}\n</body></html>\n`;
}

const COLOURS = ["#4269d0", "#efb118", "#3ca951", "#ff725c"];

/** Loads echarts when first called: it is large, and most commands draw nothing. */
async function drawBars({ labels, series }: BarChart): Promise<string> {
  const [core, charts, components, renderers] = await Promise.all([
    import("echarts/core"),
    import("echarts/charts"),
    import("echarts/components"),
    import("echarts/renderers"),
  ]);
  core.use([charts.BarChart, components.GridComponent, components.LegendComponent, renderers.SVGRenderer]);
  const chart = core.init(null, null, { renderer: "svg", ssr: true, width: 760, height: 300 });
  try {
    chart.setOption({
      animation: false,
      color: COLOURS,
      textStyle: { fontFamily: "sans-serif" },
      legend: { bottom: 0 },
      grid: { left: 60, right: 15, top: 20, bottom: 60 },
      xAxis: { type: "category", data: [...labels], axisLabel: { hideOverlap: true } },
      yAxis: { type: "value" },
      series: series.map(({ name, values }) => ({ type: "bar", name, data: [...values], barGap: "10%" })),
    });
    return chart.renderToSVGString();
  } finally {
    // Without this its timers keep the process alive.
    chart.dispose();
  }
}

function markdownTable({ header, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(escapeMarkdown).join(" | ")} |`;
  return [line(header), `|${header.map(() => "---").join("|")}|`, ...rows.map(line)].join("\n");
}

function htmlTable({ header, rows }: Table): string {
  const cells = (row: readonly string[], tag: "th" | "td"): string =>
    `<tr>${row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join("")}</tr>`;
  return `<table><thead>${cells(header, "th")}</thead><tbody>${rows.map((row) => cells(row, "td")).join("")}</tbody></table>`;
}

/** What stands in the data must not become markup. */
function escapeMarkdown(text: string): string {
  return text
    .replace(/[\\`*_|]|\](?=\()/g, (sign) => `\\${sign}`)
    .replaceAll("<", "&lt;")
    .replace(/\s*\n\s*/g, " ");
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => ENTITIES[sign]!);
}
