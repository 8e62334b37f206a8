/**
 * Why a prediction is wrong: one class each, the first that applies in the order of `ERROR_CLASSES`. What the database
 * said comes before what the queries' structures say; among these, what is read first in a query comes first.
 */
import type { ColumnUnit, Conditions, SpiderQuery } from "../../envs/index.js";
import { canonicalQuery, type KeyMap } from "./canonical.js";

export const ERROR_CLASSES = [
  "timeout",
  "syntax",
  "wrong_table",
  "wrong_column",
  "empty",
  "wrong_aggregate",
  "wrong_condition",
  "wrong_grouping",
  "wrong_order",
  "wrong_nesting",
  "other",
] as const;
export type ErrorClass = (typeof ERROR_CLASSES)[number];

/** What each class means, for reports. */
export const ERROR_MEANINGS: Readonly<Record<ErrorClass, string>> = {
  timeout: "ran past its deadline, or gave more than may be",
  syntax: "is no SQL that the database accepts",
  wrong_table: "names a table that is not there, or uses other tables than gold",
  wrong_column: "names a column that is not there, or uses other columns than gold",
  empty: "gave no rows where gold gives some",
  wrong_aggregate: "selects other aggregates, or misses DISTINCT",
  wrong_condition: "has other conditions or values in WHERE or HAVING",
  wrong_grouping: "groups by other columns",
  wrong_order: "sorts or limits otherwise",
  wrong_nesting: "combines queries otherwise",
  other: "has the structure of gold and another result, or a structure outside Spider's grammar",
};

export interface ErrorFinding {
  readonly class: ErrorClass;
  readonly evidence: string;
}

export interface ReadQuery {
  /** Undefined when it is outside Spider's grammar; the problem then says why. */
  readonly query: SpiderQuery | undefined;
  readonly problem: string;
}

export interface WrongPrediction {
  /** What the database said. */
  readonly outcome:
    | { readonly kind: "rows" | "empty"; readonly rowCount: number }
    | { readonly kind: string; readonly message: string };
  readonly gold: ReadQuery & { readonly rowCount: number };
  readonly predicted: ReadQuery;
  readonly keys: KeyMap;
}

export function findError(wrong: WrongPrediction): ErrorFinding {
  const { outcome, gold, predicted } = wrong;
  if ("message" in outcome) return { class: classOfFailure(outcome.kind), evidence: outcome.message };
  const isEmpty = outcome.kind === "empty" && gold.rowCount > 0;
  if (predicted.query === undefined || gold.query === undefined) {
    if (isEmpty) return emptyFinding(gold.rowCount);
    const [whose, problem] =
      predicted.query === undefined ? ["", predicted.problem] : ["gold is ", gold.problem];
    return { class: "other", evidence: `${whose}outside Spider's grammar: ${problem}` };
  }
  const [left, right] = [mergeKeys(predicted.query, wrong.keys), mergeKeys(gold.query, wrong.keys)];
  const listed = (
    kind: ErrorClass,
    unitsOf: (query: SpiderQuery) => readonly string[],
  ): ErrorFinding | undefined => {
    const difference = differenceOf(unitsOf(left), unitsOf(right));
    return difference === undefined ? undefined : { class: kind, evidence: difference };
  };
  return (
    listed("wrong_table", tablesOf) ??
    listed("wrong_column", (query) => [...new Set(columnsOf(query))]) ??
    (isEmpty ? emptyFinding(gold.rowCount) : undefined) ??
    listed("wrong_aggregate", selectedOf) ??
    listed("wrong_condition", conditionsOf) ??
    listed("wrong_grouping", ({ groupBy }) => groupBy.map(printColumn)) ??
    listed("wrong_order", orderOf) ??
    listed("wrong_nesting", nestingOf) ?? {
      class: "other",
      evidence: `${outcome.rowCount} rows against ${gold.rowCount} of the same structure`,
    }
  );
}

function classOfFailure(kind: string): ErrorClass {
  if (kind === "timeout" || kind === "too_large") return "timeout";
  if (kind === "no_such_table") return "wrong_table";
  return kind === "no_such_column" ? "wrong_column" : "syntax";
}

function emptyFinding(rowCount: number): ErrorFinding {
  return { class: "empty", evidence: `no rows, gold has ${rowCount}` };
}

/** Keys merged, values and DISTINCT kept: here they count. */
function mergeKeys(query: SpiderQuery, keys: KeyMap): SpiderQuery {
  const canonical = canonicalQuery(query, keys);
  return {
    ...query,
    groupBy: canonical.groupBy,
    select: {
      isDistinct: query.select.isDistinct,
      items: canonical.select.items.map((item, i) => {
        const own = query.select.items[i]!.unit.left.isDistinct;
        return { ...item, unit: { ...item.unit, left: { ...item.unit.left, isDistinct: own } } };
      }),
    },
    where: withValues(canonical.where, query.where),
    having: withValues(canonical.having, query.having),
    orderBy: canonical.orderBy,
  };
}

function withValues(canonical: Conditions, own: Conditions): Conditions {
  return {
    joins: own.joins,
    units: canonical.units.map((unit, i) => ({
      ...unit,
      value: own.units[i]!.value,
      upper: own.units[i]!.upper,
    })),
  };
}

/** What one list has and the other lacks, or undefined. */
function differenceOf(predicted: readonly string[], gold: readonly string[]): string | undefined {
  const without = (from: readonly string[], other: readonly string[]): string[] => {
    const rest = [...other];
    return from.filter((unit) => {
      const at = rest.indexOf(unit);
      if (at >= 0) rest.splice(at, 1);
      return at < 0;
    });
  };
  const [extra, missing] = [without(predicted, gold), without(gold, predicted)];
  const parts = [
    ...(missing.length > 0 ? [`missing ${missing.join(", ")}`] : []),
    ...(extra.length > 0 ? [`instead or besides ${extra.join(", ")}`] : []),
  ];
  return parts.length === 0 ? undefined : parts.join("; ");
}

const inner = ({ where, having }: SpiderQuery): SpiderQuery[] =>
  [...where.units, ...having.units].flatMap(({ value, upper }) =>
    [value, upper].flatMap((side) => (side?.kind === "query" ? [side.query] : [])),
  );
const behind = ({ intersect, union, except }: SpiderQuery): SpiderQuery[] =>
  [intersect, union, except].filter((query) => query !== null);
const inFrom = ({ from }: SpiderQuery): SpiderQuery[] =>
  from.tables.flatMap((unit) => (unit.kind === "query" ? [unit.query] : []));
const everyInner = (query: SpiderQuery): SpiderQuery[] => [
  ...inner(query),
  ...behind(query),
  ...inFrom(query),
];

function tablesOf(query: SpiderQuery): string[] {
  const own = query.from.tables.flatMap((unit) => (unit.kind === "table" ? [unit.table] : []));
  return [...own, ...everyInner(query).flatMap(tablesOf)];
}

/** Joins aside: which columns join tables follows from the tables. */
function columnsOf(query: SpiderQuery): string[] {
  const units = [
    ...query.select.items.map(({ unit }) => unit),
    ...query.where.units.map(({ unit }) => unit),
    ...query.having.units.map(({ unit }) => unit),
    ...(query.orderBy?.units ?? []),
  ];
  const own = [...units.flatMap(({ left, right }) => [left, right]), ...query.groupBy];
  return [
    ...own.flatMap((unit) => (unit === null || unit.column === "*" ? [] : [unit.column])),
    ...everyInner(query).flatMap(columnsOf),
  ];
}

const printColumn = ({ aggregate, column, isDistinct }: ColumnUnit): string => {
  const name = isDistinct === true ? `distinct ${column}` : column;
  return aggregate === "none" ? name : `${aggregate}(${name})`;
};
const printUnit = (unit: SpiderQuery["select"]["items"][number]["unit"]): string =>
  unit.right === null
    ? printColumn(unit.left)
    : `${printColumn(unit.left)} ${unit.operator} ${printColumn(unit.right)}`;

function selectedOf({ select }: SpiderQuery): string[] {
  const items = select.items.map(({ aggregate, unit }) =>
    aggregate === "none" ? printUnit(unit) : `${aggregate}(${printUnit(unit)})`,
  );
  return select.isDistinct === true ? [...items, "distinct"] : items;
}

function conditionsOf({ where, having }: SpiderQuery): string[] {
  const print = (clause: string, { units, joins }: Conditions): string[] => [
    ...units.map(({ isNegated, operator, unit, value, upper }) => {
      const sides = [value, upper].flatMap((side) => {
        if (side === null) return [];
        if (side.kind === "query") return ["(a query)"];
        return [side.kind === "column" ? printColumn(side.unit) : `${side.value}`];
      });
      return `${clause} ${printUnit(unit)} ${isNegated ? "not " : ""}${operator} ${sides.join(" and ")}`;
    }),
    ...joins,
  ];
  return [...print("where", where), ...print("having", having)];
}

function orderOf({ orderBy, limit }: SpiderQuery): string[] {
  const order =
    orderBy === null ? [] : [`order by ${orderBy.units.map(printUnit).join(", ")} ${orderBy.direction}`];
  return limit === null ? order : [...order, `limit ${limit}`];
}

function nestingOf(query: SpiderQuery): string[] {
  return [
    ...(["intersect", "union", "except"] as const).filter((operator) => query[operator] !== null),
    ...everyInner(query).flatMap((one) => [
      ...selectedOf(one),
      ...conditionsOf(one),
      ...one.groupBy.map(printColumn),
      ...orderOf(one),
      ...nestingOf(one),
    ]),
  ];
}
