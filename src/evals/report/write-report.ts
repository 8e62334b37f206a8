/** Writes an evaluation to a folder: `report.json`, `report.md` and `report.html`. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SpiderReport } from "../spider/report.js";
import { compareModels } from "./comparison.js";
import { formatHtml } from "./html.js";
import { formatMarkdown, type ReportOptions } from "./markdown.js";

/** The paths that were written. The first report is the baseline of the others. */
export async function writeSpiderReport(
  folder: string,
  reports: readonly SpiderReport[],
  options: ReportOptions = {},
): Promise<{ readonly json: string; readonly markdown: string; readonly html: string }> {
  const paths = {
    json: join(folder, "report.json"),
    markdown: join(folder, "report.md"),
    html: join(folder, "report.html"),
  };
  const html = await formatHtml(reports, options);
  const differences = compareModels(reports, options.seed);
  mkdirSync(folder, { recursive: true });
  writeFileSync(paths.json, `${JSON.stringify({ reports, differences }, null, 1)}\n`);
  writeFileSync(paths.markdown, formatMarkdown(reports, options));
  writeFileSync(paths.html, html);
  return paths;
}
