/** Charts of evaluation reports as SVG text, drawn by echarts without a browser. */
import { ERROR_CLASSES } from "../spider/error-analysis.js";
import { levelsOf, type SpiderReport } from "../spider/report.js";

export interface Charts {
  /** Execution accuracy by hardness, one bar per model, with its interval. */
  readonly accuracy: string;
  /** Wrong predictions by class. */
  readonly errors: string;
}

const WIDTH = 760;
const COLOURS = ["#4269d0", "#efb118", "#3ca951", "#ff725c", "#a463f2", "#6cc5b0"];

/** Between bars, of a bar's width; beside a group, of the level's. */
const BAR_GAP = 0.3;
const GROUP_GAP = 0.2;

/** Loads echarts when first called: it is large, and most commands draw nothing. */
export async function drawCharts(reports: readonly SpiderReport[]): Promise<Charts> {
  const [core, charts, components, renderers] = await Promise.all([
    import("echarts/core"),
    import("echarts/charts"),
    import("echarts/components"),
    import("echarts/renderers"),
  ]);
  core.use([
    charts.BarChart,
    charts.CustomChart,
    components.GridComponent,
    components.LegendComponent,
    renderers.SVGRenderer,
  ]);
  const draw = (height: number, option: Parameters<ReturnType<typeof core.init>["setOption"]>[0]): string => {
    const chart = core.init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
    try {
      chart.setOption({
        animation: false,
        color: COLOURS,
        textStyle: { fontFamily: "sans-serif" },
        ...option,
      });
      return chart.renderToSVGString();
    } finally {
      // Without this its timers keep the process alive.
      chart.dispose();
    }
  };

  const levels = levelsOf(reports);
  const percent = (value: number): number => Math.round(value * 1000) / 10;
  const shown = ERROR_CLASSES.filter((kind) => reports.some(({ errors }) => errors[kind] > 0));
  const legend = { bottom: 0, silent: true, data: reports.map(({ model }) => model) };
  return {
    accuracy: draw(340, {
      legend,
      grid: { left: 50, right: 15, top: 20, bottom: 60 },
      xAxis: {
        type: "category",
        data: levels.map((level) => `${level}\n(${reports[0]?.levels[level].execution.count})`),
      },
      yAxis: { type: "value", min: 0, max: 100, axisLabel: { formatter: "{value} %" } },
      series: [
        ...reports.map((report) => ({
          type: "bar" as const,
          silent: true,
          name: report.model,
          barGap: `${BAR_GAP * 100}%`,
          barCategoryGap: `${GROUP_GAP * 100}%`,
          data: levels.map((level) => percent(report.levels[level].execution.value)),
        })),
        ...reports.map((report, at) => ({
          type: "custom" as const,
          silent: true,
          name: `${report.model} interval`,
          z: 3,
          data: levels.map((level, i) => {
            const { low, high } = report.levels[level].execution;
            return [i, percent(low), percent(high)];
          }),
          renderItem: (_: unknown, api: IntervalApi) => interval(api, at, reports.length),
        })),
      ],
    }),
    errors: draw(60 + 24 * Math.max(1, shown.length) * Math.max(1, reports.length), {
      legend,
      grid: { left: 120, right: 30, top: 10, bottom: 50 },
      xAxis: { type: "value", minInterval: 1 },
      yAxis: { type: "category", inverse: true, data: shown.map((kind) => kind.replaceAll("_", " ")) },
      series: reports.map(({ model, errors }) => ({
        type: "bar" as const,
        silent: true,
        name: model,
        label: { show: true, position: "right" as const },
        data: shown.map((kind) => errors[kind]),
      })),
    }),
  };
}

/** The part of echarts' drawing interface that an interval needs. */
interface IntervalApi {
  value(dimension: number): number | string;
  coord(point: [number, number]): number[];
  size?(size: [number, number]): number | number[];
}

/** A vertical line with caps over bar `at` of `count` in its group. */
function interval(api: IntervalApi, at: number, count: number) {
  const level = Number(api.value(0));
  const [centre = 0, top = 0] = api.coord([level, Number(api.value(2))]);
  const [, bottom = 0] = api.coord([level, Number(api.value(1))]);
  const size = api.size?.([1, 0]);
  const band = (Array.isArray(size) ? size[0] : size) ?? 0;
  const group = band * (1 - GROUP_GAP);
  const bar = group / (count + BAR_GAP * (count - 1));
  const x = centre - group / 2 + bar / 2 + at * bar * (1 + BAR_GAP);
  const line = (x1: number, y1: number, x2: number, y2: number) => ({
    type: "line" as const,
    shape: { x1, y1, x2, y2 },
    style: { stroke: "#222", lineWidth: 1.5 },
  });
  return {
    type: "group" as const,
    children: [line(x, top, x, bottom), line(x - 4, top, x + 4, top), line(x - 4, bottom, x + 4, bottom)],
  };
}
