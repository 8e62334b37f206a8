/**
 * Spider's exact set match: a query is right when every component is, each compared as a set.
 * Paper: Yu et al., arXiv:1809.08887, section 5; components and their counts follow the benchmark's evaluation script.
 *
 * A component scores 1 when prediction and gold have equally many units and all of them are the same, else 0. Queries
 * come in canonical form (`canonicalQuery`): without values and DISTINCT, foreign keys merged. Unitless.
 */
import { allConditions, type SpiderQuery } from "../../envs/index.js";

export const COMPONENTS = [
  "select",
  "select(no AGG)",
  "where",
  "where(no OP)",
  "group(no Having)",
  "group",
  "order",
  "and/or",
  "IUEN",
  "keywords",
] as const;
export type Component = (typeof COMPONENTS)[number];

export interface ComponentScore {
  readonly score: 0 | 1;
  /** Units in the prediction and in gold: where both have none, the component says nothing. */
  readonly predicted: number;
  readonly gold: number;
}

export type ComponentScores = Readonly<Record<Component, ComponentScore>>;

export interface ExactMatch {
  readonly isMatch: boolean;
  readonly components: ComponentScores;
}

/** Both in canonical form. */
export function exactMatch(predicted: SpiderQuery, gold: SpiderQuery): ExactMatch {
  const components = componentScores(predicted, gold);
  const isMatch =
    COMPONENTS.every((component) => components[component].score === 1) &&
    (gold.from.tables.length === 0 || isSameSet(predicted.from.tables, gold.from.tables));
  return { isMatch, components };
}

function componentScores(predicted: SpiderQuery, gold: SpiderQuery): ComponentScores {
  const compared = <T>(unitsOf: (query: SpiderQuery) => readonly T[]): ComponentScore =>
    scoreOf(unitsOf(predicted), unitsOf(gold));
  return {
    select: compared(({ select }) => select.items),
    "select(no AGG)": compared(({ select }) => select.items.map(({ unit }) => unit)),
    where: compared(({ where }) => where.units),
    "where(no OP)": compared(({ where }) => where.units.map(({ unit }) => unit)),
    // The table does not count here: only the column's name.
    "group(no Having)": compared(({ groupBy }) =>
      groupBy.map(({ column }) => column.slice(column.indexOf(".") + 1)),
    ),
    group: groupScore(predicted, gold),
    order: orderScore(predicted, gold),
    "and/or": joinScore(predicted, gold),
    IUEN: setOperatorScore(predicted, gold),
    keywords: compared((query) => [...keywordsOf(query)]),
  };
}

const keyOf = (unit: unknown): string => JSON.stringify(unit);

/** How many units two lists share, each counted as often as it stands in both. */
function sharedCount(left: readonly unknown[], right: readonly unknown[]): number {
  const counts = new Map<string, number>();
  for (const unit of right) counts.set(keyOf(unit), (counts.get(keyOf(unit)) ?? 0) + 1);
  return left.filter((unit) => {
    const count = counts.get(keyOf(unit)) ?? 0;
    counts.set(keyOf(unit), count - 1);
    return count > 0;
  }).length;
}

function isSameSet(left: readonly unknown[], right: readonly unknown[]): boolean {
  return left.length === right.length && sharedCount(left, right) === left.length;
}

function scoreOf(predicted: readonly unknown[], gold: readonly unknown[]): ComponentScore {
  return { score: isSameSet(predicted, gold) ? 1 : 0, predicted: predicted.length, gold: gold.length };
}

/** One unit where there is a GROUP BY: its columns, in order, with HAVING. */
function groupScore(predicted: SpiderQuery, gold: SpiderQuery): ComponentScore {
  const unitsOf = ({ groupBy, having }: SpiderQuery): unknown[] =>
    groupBy.length === 0 ? [] : [{ columns: groupBy.map(({ column }) => column), having }];
  return scoreOf(unitsOf(predicted), unitsOf(gold));
}

/** One unit where there is an ORDER BY: its units in order, the direction, and whether there is a LIMIT. */
function orderScore(predicted: SpiderQuery, gold: SpiderQuery): ComponentScore {
  const unitsOf = ({ orderBy, limit }: SpiderQuery): unknown[] =>
    orderBy === null ? [] : [{ orderBy, isLimited: limit !== null }];
  return scoreOf(unitsOf(predicted), unitsOf(gold));
}

/** Whether WHERE has AND, OR or both. Equal counts as one unit on both sides, as officially. */
function joinScore(predicted: SpiderQuery, gold: SpiderQuery): ComponentScore {
  const [left, right] = [new Set(predicted.where.joins), new Set(gold.where.joins)];
  const isSame = left.size === right.size && [...left].every((join) => right.has(join));
  // The script gives the two counts in the other order when they differ.
  return isSame ? { score: 1, predicted: 1, gold: 1 } : { score: 0, predicted: right.size, gold: left.size };
}

/** INTERSECT, EXCEPT and UNION, each with a query that matches exactly. */
function setOperatorScore(predicted: SpiderQuery, gold: SpiderQuery): ComponentScore {
  const totals = { predicted: 0, gold: 0, shared: 0 };
  for (const operator of ["intersect", "except", "union"] as const) {
    const [left, right] = [predicted[operator], gold[operator]];
    if (left !== null) totals.predicted++;
    if (right !== null) totals.gold++;
    if (left !== null && right !== null && exactMatch(left, right).isMatch) totals.shared++;
  }
  const isSame = totals.predicted === totals.gold && totals.shared === totals.predicted;
  return { score: isSame ? 1 : 0, predicted: totals.predicted, gold: totals.gold };
}

function keywordsOf(query: SpiderQuery): Set<string> {
  const { units, joins } = allConditions(query);
  const present: readonly (readonly [string, boolean])[] = [
    ["where", query.where.units.length > 0],
    ["group", query.groupBy.length > 0],
    ["having", query.having.units.length > 0],
    ["order", query.orderBy !== null],
    [query.orderBy?.direction ?? "", query.orderBy !== null],
    ["limit", query.limit !== null],
    ["except", query.except !== null],
    ["union", query.union !== null],
    ["intersect", query.intersect !== null],
    ["or", joins.includes("or")],
    ["not", units.some(({ isNegated }) => isNegated)],
    ["in", units.some(({ operator }) => operator === "in")],
    ["like", units.some(({ operator }) => operator === "like")],
  ];
  // In one order, so that two sets of the same words compare equal unit by unit.
  return new Set(present.filter(([, isPresent]) => isPresent).map(([keyword]) => keyword));
}
