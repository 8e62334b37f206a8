/** An evaluation in numbers: items counted by hardness and by class of error. The report is plain JSON. */
import { HARDNESS_LEVELS } from "../../envs/index.js";
import { COMPONENTS, type Component, type ComponentScores } from "../metrics/spider-exact-match.js";
import { type Proportion, wilsonInterval } from "../metrics/wilson.js";
import { ERROR_CLASSES, type ErrorClass, type ErrorFinding } from "./error-analysis.js";

/** unknown: gold is outside Spider's grammar, as a query on databases of one's own may be. */
export const LEVELS = [...HARDNESS_LEVELS, "unknown", "all"] as const;
export type Level = (typeof LEVELS)[number];

/** Averages as the benchmark takes them: accuracy over predictions that have the component, recall over gold. */
export interface ComponentAverages {
  readonly accuracy: number;
  readonly recall: number;
  /** Harmonic mean; 1 where neither side has the component. (The script prints 1 also where every one is wrong.) */
  readonly f1: number;
}

export interface LevelReport {
  readonly execution: Proportion;
  readonly exact: Proportion;
  readonly components: Readonly<Record<Component, ComponentAverages>>;
}

export interface SpiderItem {
  readonly id: string;
  readonly database: string;
  readonly hardness: Exclude<Level, "all">;
  readonly question: string;
  readonly gold: string;
  readonly predicted: string;
  /** null when the comparison itself failed; such items count nowhere. */
  readonly isExecutionMatch: boolean | null;
  /** null, as the components, when gold is outside Spider's grammar; such items count in execution alone. */
  readonly isExactMatch: boolean | null;
  readonly components: ComponentScores | null;
  /** Why it is wrong, or what broke. */
  readonly error?: ErrorFinding | { readonly class: "invalid"; readonly evidence: string };
}

export interface SpiderReport {
  readonly model: string;
  readonly levels: Readonly<Record<Level, LevelReport>>;
  readonly errors: Readonly<Record<ErrorClass, number>>;
  /** Items whose comparison failed. */
  readonly invalid: number;
  readonly items: readonly SpiderItem[];
}

/** The levels that tables show: `unknown` only where there is one. */
export function levelsOf(reports: readonly SpiderReport[]): readonly Level[] {
  return LEVELS.filter(
    (level) => level !== "unknown" || reports.some(({ levels }) => levels.unknown.execution.count > 0),
  );
}

/** Items whose comparison failed count nowhere but in `invalid`. */
export function spiderReport(model: string, items: readonly SpiderItem[]): SpiderReport {
  const valid = items.filter(({ isExecutionMatch }) => isExecutionMatch !== null);
  const levelReport = (level: Level): LevelReport =>
    reportOf(level === "all" ? valid : valid.filter(({ hardness }) => hardness === level));
  const countOf = (kind: ErrorClass): number => valid.filter(({ error }) => error?.class === kind).length;
  return {
    model,
    levels: Object.fromEntries(LEVELS.map((level) => [level, levelReport(level)])) as Record<
      Level,
      LevelReport
    >, // fromEntries forgets the keys
    errors: Object.fromEntries(ERROR_CLASSES.map((kind) => [kind, countOf(kind)])) as Record<
      ErrorClass,
      number
    >, // likewise
    invalid: items.length - valid.length,
    items,
  };
}

function reportOf(items: readonly SpiderItem[]): LevelReport {
  const readable = items.filter(({ isExactMatch }) => isExactMatch !== null);
  const share = (of: readonly SpiderItem[], isRight: (item: SpiderItem) => boolean | null): Proportion =>
    wilsonInterval(of.filter(isRight).length, of.length);
  return {
    execution: share(items, ({ isExecutionMatch }) => isExecutionMatch),
    exact: share(readable, ({ isExactMatch }) => isExactMatch),
    components: Object.fromEntries(
      COMPONENTS.map((component) => [component, averagesOf(items, component)]),
    ) as Record<Component, ComponentAverages>, // fromEntries forgets the keys
  };
}

function averagesOf(items: readonly SpiderItem[], component: Component): ComponentAverages {
  const scores = items.flatMap(({ components }) => (components === null ? [] : [components[component]]));
  const average = (counted: typeof scores): number =>
    counted.length === 0 ? 0 : counted.reduce((sum, { score }) => sum + score, 0) / counted.length;
  const inPredictions = scores.filter(({ predicted }) => predicted > 0);
  const inGold = scores.filter(({ gold }) => gold > 0);
  const [accuracy, recall] = [average(inPredictions), average(inGold)];
  const isAbsent = inPredictions.length + inGold.length === 0;
  const f1 = accuracy + recall === 0 ? 0 : (2 * accuracy * recall) / (accuracy + recall);
  return { accuracy, recall, f1: isAbsent ? 1 : f1 };
}
