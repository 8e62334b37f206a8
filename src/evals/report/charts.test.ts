import { expect, it } from "vitest";
import { wilsonInterval } from "../metrics/wilson.js";
import { ERROR_CLASSES } from "../spider/error-analysis.js";
import { LEVELS, levelsOf, type SpiderReport } from "../spider/report.js";
import { drawCharts } from "./charts.js";

/** A report of 100 items a level, as far as charts look. */
function reportOf(model: string, correct: number): SpiderReport {
  const level = (count: number, right: number) => ({
    execution: wilsonInterval(right, count),
    exact: wilsonInterval(0, count),
    components: {},
  });
  const report = {
    model,
    invalid: 0,
    items: [],
    levels: Object.fromEntries(
      LEVELS.map((name) => [name, name === "unknown" ? level(0, 0) : level(100, correct)]),
    ),
    errors: Object.fromEntries(ERROR_CLASSES.map((kind, i) => [kind, i === 1 ? 7 : 0])),
  };
  return report as unknown as SpiderReport; // charts read no components and no items
}

it.each([1, 2, 3])(
  "drawCharts() puts each interval over the middle of its bar, for %i models",
  async (count) => {
    const reports = Array.from({ length: count }, (_, i) => reportOf(`m${i}`, 40 + 10 * i));
    const levels = levelsOf(reports);
    expect(levels).not.toContain("unknown");
    const { accuracy } = await drawCharts(reports);
    // A bar is a path of four corners from its base; an interval's stem is a vertical line.
    const bars = [...accuracy.matchAll(/d="M([\d.]+) ([\d.]+)l([\d.]+) 0l0 -([\d.]+)l-\3 0Z"/g)].map(
      ([, x, base, width, height]) => ({
        middle: Number(x) + Number(width) / 2,
        top: Number(base) - Number(height),
        base: Number(base),
      }),
    );
    const stems = [...accuracy.matchAll(/d="M([\d.]+) ([\d.]+)L\1 ([\d.]+)"[^>]*stroke="#222"/g)].map(
      ([, x, top, bottom]) => ({ x: Number(x), top: Number(top), bottom: Number(bottom) }),
    );
    expect(stems).toHaveLength(count * levels.length);
    for (const [i, stem] of stems.entries()) {
      const bar = bars.find(({ middle }) => Math.abs(middle - stem.x) < 0.6);
      expect(bar, `stem ${i}`).toBeDefined();
      const { low, high, value } = wilsonInterval(40 + 10 * Math.floor(i / levels.length), 100);
      const height = (bar!.base - bar!.top) / value;
      expect(Math.abs(bar!.base - stem.top - high * height)).toBeLessThan(0.6);
      expect(Math.abs(bar!.base - stem.bottom - low * height)).toBeLessThan(0.6);
    }
  },
);

it("drawCharts() shows the classes of error that occur, with their counts", async () => {
  const { errors } = await drawCharts([reportOf("model", 50)]);
  expect(errors).toContain(">syntax<");
  expect(errors).toContain(">7<");
  expect(errors).not.toContain(">wrong table<");
});
