/**
 * Evaluates predictions as Spider does: execution accuracy and exact set match by hardness, with each component, and
 * one class of error for each wrong prediction. The report is plain JSON.
 */
import { UserError } from "../../base/index.js";
import {
  EMPTY_QUERY,
  hardnessOf,
  type ParseOptions,
  parseSpiderQuery,
  type SqlDatabase,
  type SqlExecutor,
  SqlSyntaxError,
  type TextToSqlExample,
} from "../../envs/index.js";
import { exactMatch } from "../metrics/spider-exact-match.js";
import { canonicalQuery, foreignKeyMap, type KeyMap } from "./canonical.js";
import { findError, type ReadQuery } from "./error-analysis.js";
import { type SpiderItem, type SpiderReport, spiderReport } from "./report.js";

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

/**
 * @throws UserError when an example has no prediction or no database
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
  return spiderReport(model, items);
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
  const parsed = parse(predicted, database);
  // The script looks past what follows a query; what is wrong with an answer is told from the whole of it.
  const compared = parsed.query ?? parse(predicted, database, { rest: "ignored" }).query ?? EMPTY_QUERY;
  const exact =
    goldQuery.query === undefined
      ? null
      : exactMatch(canonicalQuery(compared, keys), canonicalQuery(goldQuery.query, keys));
  const comparison = await executor.compare(database.name, { gold, predicted });
  const item = {
    id,
    database: database.name,
    hardness: goldQuery.query === undefined ? example.tags.hardness : hardnessOf(goldQuery.query),
    question,
    gold,
    predicted,
    isExactMatch: exact?.isMatch ?? null,
    components: exact?.components ?? null,
  } satisfies Partial<SpiderItem>;
  if (comparison.kind === "invalid") {
    return { ...item, isExecutionMatch: null, error: { class: "invalid", evidence: comparison.message } };
  }
  if (comparison.isMatch) return { ...item, isExecutionMatch: true };
  const error = findError({
    outcome: comparison.predicted,
    gold: { ...goldQuery, rowCount: comparison.gold.rowCount },
    predicted: parsed,
    keys,
  });
  return { ...item, isExecutionMatch: false, error };
}

function parse(sql: string, { schema }: SqlDatabase, options: ParseOptions = {}): ReadQuery {
  try {
    return { query: parseSpiderQuery(sql, schema, options), problem: "" };
  } catch (thrown) {
    if (thrown instanceof SqlSyntaxError) return { query: undefined, problem: thrown.message };
    throw thrown;
  }
}
