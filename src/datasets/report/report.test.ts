import fc from "fast-check";
import { expect, it } from "vitest";
import { checkRecords } from "../quality/check-records.js";
import { measureRecords } from "../quality/measure.js";
import { parseRecord } from "../records/parse-record.js";
import { binEdges, dataReport, histogram } from "./data-report.js";
import { formatReportHtml, formatReportMarkdown } from "./document.js";

const rows = Array.from({ length: 12 }, (_, i) => ({
  ...{ prompt: `<b>p ${i}</b> | x`, chosen: `yes ${i}.`, rejected: i === 0 ? "" : `no ${i}.` },
  ...{ margin: 0.5, category: i < 9 ? "tool_use" : "style", model: "m-1" },
}));
const records = rows.map((row, i) => parseRecord(row, { line: i + 1, at: `d:${i + 1}` }));
const measures = measureRecords(
  { path: "a*b.jsonl", kind: "preference", records, fileHash: "f00", contentHash: "c00" },
  {
    targets: { tool_use: 0.7, style: 0.3 },
    evaluation: [{ path: "<e>.jsonl", line: 2, text: "p 0 x and then eight more words to come" }],
  },
);
const report = dataReport(measures, checkRecords(measures));

it("the Markdown report says what was measured, with what failed first", () => {
  const text = formatReportMarkdown(report);
  expect(text).toMatch(/^# Data of a\\\*b\.jsonl\n\n## 1 of 9 checks failed\n/);
  expect(text).toContain("| rows | failed | 12 | 1000 | 12 pairs; 12 is below 1000 |  |");
  expect(text).toContain("| SHA-256 of the file | f00 |");
  expect(text).toContain("| tool\\_use | 9 | 75 % | 70 % |");
  expect(text).toContain("| mean of score(chosen) − score(rejected) | 0.5 |");
  expect(text).toContain("| empty | nothing, or white space alone | 1 | 1 | 1 |");
  expect(text).toContain("| model | m-1 (12) |");
});

it("the HTML report is one file with charts, and nothing in the data becomes markup", async () => {
  const html = await formatReportHtml({
    ...report,
    sections: [
      ...report.sections,
      { title: "<script>", paragraphs: ["a & <img>"], table: { header: ["<"], rows: [['"']] } },
    ],
  });
  expect(html.match(/<svg /g)).toHaveLength(2);
  expect(html).toContain(">tool_use<");
  expect(html).toContain("<h2>&lt;script&gt;</h2>\n<p>a &amp; &lt;img&gt;</p>");
  expect(html).not.toMatch(/<script|<img|src=|href=/);
});

it("histogram() counts every value once, in the bin that holds it", () => {
  expect([binEdges([0, 11]).length, binEdges([]), binEdges([24])]).toEqual([
    13,
    [0, 1],
    [0, 3, 6, 9, 12, 15, 18, 21, 24, 27],
  ]);
  expect(histogram([0, 2, 3, 24], binEdges([24]))).toEqual([2, 1, 0, 0, 0, 0, 0, 0, 1]);
  fc.assert(
    fc.property(fc.array(fc.nat(5000)), (values) => {
      expect(histogram(values, binEdges(values)).reduce((a, b) => a + b, 0)).toBe(values.length);
    }),
  );
});
