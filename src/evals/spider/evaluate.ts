/**
 * Evaluates predictions as Spider does: execution accuracy and exact set match by hardness, with each component, and
 * one class of error for each wrong prediction. The report is plain JSON.
 */
import { UserError } from "../../base/index.js";
import {
  EMPTY_QUERY,
  HARDNESS_LEVELS,
  type Hardness,
  hardnessOf,
  type ParseOptions,
  parseSpiderQuery,
  type SpiderQuery,
  type SqlDatabase,
  type SqlExecutor,
  SqlSyntaxError,
  type TextToSqlExample,
} from "../../envs/index.js";
import {
  COMPONENTS,
  type Component,
  type ComponentScores,
  exactMatch,
} from "../metrics/spider-exact-match.js";
import { type Proportion, wilsonInterval } from "../metrics/wilson.js";
import { canonicalQuery, foreignKeyMap, type KeyMap } from "./canonical.js";
import { ERROR_CLASSES, type ErrorClass, type ErrorFinding, findError } from "./error-analysis.js";

export interface SpiderEvaluation {
  /** What reports call the model. */
  readonly model: string;
  readonly examples: readonly TextToSqlExample[];
  /** SQL by the example's id. */
  readonly predictions: ReadonlyMap<string, string>;
  readonly databases: ReadonlyMap<string, SqlDatabase>;
  readonly executor: Pick<SqlExecutor, "compare">;
  /** Comparisons at a time. @default 8 */
  readonly concurrency?: number;
  /** More broken comparisons than this share of all stop the evaluation. @default 0.01 */
  readonly maxInvalidFraction?: number;
}

export const LEVELS = [...HARDNESS_LEVELS, "all"] as const;
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
  readonly hardness: Hardness;
  readonly question: string;
  readonly gold: string;
  readonly predicted: string;
  /** null when the comparison itself failed; such items count nowhere. */
  readonly isExecutionMatch: boolean | null;
  readonly isExactMatch: boolean;
  readonly components: ComponentScores;
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

/**
 * @throws UserError when an example has no prediction, no database, or gold outside Spider's grammar
 * @throws Error when too many comparisons fail: the grader is broken, not the model
 */
export async function evaluateSpider(evaluation: SpiderEvaluation): Promise<SpiderReport> {
  const { model, examples, concurrency = 8, maxInvalidFraction = 0.01 } = evaluation;
  const keyMaps = new Map<string, KeyMap>();
  const items = new Array<SpiderItem>(examples.length);
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < examples.length) {
      const at = next++;
      try {
        items[at] = await evaluateItem(examples[at]!, evaluation, keyMaps);
      } catch (error) {
        next = examples.length; // the others begin nothing more
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, concurrency) }, work));

  const invalid = items.filter(({ isExecutionMatch }) => isExecutionMatch === null);
  if (invalid.length > maxInvalidFraction * items.length) {
    throw new Error(
      `Cannot evaluate "${model}": ${invalid.length} of ${items.length} comparisons failed, expected at most ${maxInvalidFraction * 100} %. The first: ${invalid[0]!.error?.evidence}`,
    );
  }
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
    invalid: invalid.length,
    items,
  };
}

async function evaluateItem(
  example: TextToSqlExample,
  { predictions, databases, executor }: SpiderEvaluation,
  keyMaps: Map<string, KeyMap>,
): Promise<SpiderItem> {
  const { id, question, sql: gold } = example;
  const predicted = predictions.get(id);
  const database = databases.get(example.database);
  if (predicted === undefined)
    throw new UserError(`Cannot evaluate: example "${id}" has no prediction, expected one`);
  if (database === undefined) {
    throw new UserError(
      `Cannot evaluate: example "${id}" asks database "${example.database}", which is not loaded`,
    );
  }
  let keys = keyMaps.get(database.name);
  if (keys === undefined) keyMaps.set(database.name, (keys = foreignKeyMap(database.schema)));
  const goldQuery = parse(gold, database);
  if (goldQuery.query === undefined) {
    throw new UserError(
      `Cannot evaluate: gold of example "${id}" is outside Spider's grammar (${goldQuery.problem}): ${gold}`,
    );
  }
  const parsed = parse(predicted, database);
  // The script looks past what follows a query; what is wrong with an answer is told from the whole of it.
  const compared = parsed.query ?? parse(predicted, database, { rest: "ignored" }).query ?? EMPTY_QUERY;
  const exact = exactMatch(canonicalQuery(compared, keys), canonicalQuery(goldQuery.query, keys));
  const comparison = await executor.compare(database.name, { gold, predicted });
  const item = {
    id,
    database: database.name,
    hardness: hardnessOf(goldQuery.query),
    question,
    gold,
    predicted,
    isExactMatch: exact.isMatch,
    components: exact.components,
  };
  if (comparison.kind === "invalid") {
    return { ...item, isExecutionMatch: null, error: { class: "invalid", evidence: comparison.message } };
  }
  if (comparison.isMatch) return { ...item, isExecutionMatch: true };
  const error = findError({
    outcome: comparison.predicted,
    gold: { query: goldQuery.query, rowCount: comparison.gold.rowCount },
    predicted: parsed.query,
    parseProblem: parsed.problem,
    keys,
  });
  return { ...item, isExecutionMatch: false, error };
}

function parse(
  sql: string,
  { schema }: SqlDatabase,
  options: ParseOptions = {},
): { readonly query: SpiderQuery | undefined; readonly problem: string } {
  try {
    return { query: parseSpiderQuery(sql, schema, options), problem: "" };
  } catch (thrown) {
    if (thrown instanceof SqlSyntaxError) return { query: undefined, problem: thrown.message };
    throw thrown;
  }
}

function reportOf(items: readonly SpiderItem[]): LevelReport {
  const share = (isRight: (item: SpiderItem) => boolean): Proportion =>
    wilsonInterval(items.filter(isRight).length, items.length);
  return {
    execution: share(({ isExecutionMatch }) => isExecutionMatch === true),
    exact: share(({ isExactMatch }) => isExactMatch),
    components: Object.fromEntries(
      COMPONENTS.map((component) => [component, averagesOf(items, component)]),
    ) as Record<Component, ComponentAverages>, // fromEntries forgets the keys
  };
}

function averagesOf(items: readonly SpiderItem[], component: Component): ComponentAverages {
  const scores = items.map(({ components }) => components[component]);
  const average = (counted: typeof scores): number =>
    counted.length === 0 ? 0 : counted.reduce((sum, { score }) => sum + score, 0) / counted.length;
  const inPredictions = scores.filter(({ predicted }) => predicted > 0);
  const inGold = scores.filter(({ gold }) => gold > 0);
  const [accuracy, recall] = [average(inPredictions), average(inGold)];
  const isAbsent = inPredictions.length + inGold.length === 0;
  const f1 = accuracy + recall === 0 ? 0 : (2 * accuracy * recall) / (accuracy + recall);
  return { accuracy, recall, f1: isAbsent ? 1 : f1 };
}
