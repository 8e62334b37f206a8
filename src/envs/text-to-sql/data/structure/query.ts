/** Spider's view of a query: its clauses as lists of units. Defined by the benchmark, so names follow its paper. */

/** In Spider's order: the index is the operator's id. */
export const AGGREGATES = ["none", "max", "min", "count", "sum", "avg"] as const;
export const UNIT_OPERATORS = ["none", "-", "+", "*", "/"] as const;
export const CONDITION_OPERATORS = [
  "not",
  "between",
  "=",
  ">",
  "<",
  ">=",
  "<=",
  "!=",
  "in",
  "like",
  "is",
  "exists",
] as const;
export const SET_OPERATORS = ["intersect", "union", "except"] as const;

export type Aggregate = (typeof AGGREGATES)[number];
export type UnitOperator = (typeof UNIT_OPERATORS)[number];
export type ConditionOperator = (typeof CONDITION_OPERATORS)[number];
export type SetOperator = (typeof SET_OPERATORS)[number];

export interface ColumnUnit {
  readonly aggregate: Aggregate;
  /** `*` or `table.column`, in lower case. */
  readonly column: string;
  /** null once an evaluation has decided to look past it. */
  readonly isDistinct: boolean | null;
}

/** One column, or two with an operator between. */
export interface ValueUnit {
  readonly operator: UnitOperator;
  readonly left: ColumnUnit;
  readonly right: ColumnUnit | null;
}

export type ConditionValue =
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "text"; readonly value: string }
  | { readonly kind: "column"; readonly unit: ColumnUnit }
  | { readonly kind: "query"; readonly query: SpiderQuery };

export interface ConditionUnit {
  readonly isNegated: boolean;
  readonly operator: ConditionOperator;
  readonly unit: ValueUnit;
  readonly value: ConditionValue | null;
  /** The upper end of `between`. */
  readonly upper: ConditionValue | null;
}

/** Units with a join between each two of them, without regard to precedence. */
export interface Conditions {
  readonly units: readonly ConditionUnit[];
  readonly joins: readonly ("and" | "or")[];
}

export type TableUnit =
  | { readonly kind: "table"; readonly table: string }
  | { readonly kind: "query"; readonly query: SpiderQuery };

export interface SelectItem {
  readonly aggregate: Aggregate;
  readonly unit: ValueUnit;
}

export interface SpiderQuery {
  readonly select: { readonly isDistinct: boolean | null; readonly items: readonly SelectItem[] };
  readonly from: { readonly tables: readonly TableUnit[]; readonly conditions: Conditions };
  readonly where: Conditions;
  readonly groupBy: readonly ColumnUnit[];
  readonly having: Conditions;
  readonly orderBy: { readonly direction: "asc" | "desc"; readonly units: readonly ValueUnit[] } | null;
  readonly limit: number | null;
  readonly intersect: SpiderQuery | null;
  readonly union: SpiderQuery | null;
  readonly except: SpiderQuery | null;
}

const NO_CONDITIONS: Conditions = { units: [], joins: [] };

/** The query without clauses: what stands in for SQL that cannot be parsed. */
export const EMPTY_QUERY: SpiderQuery = {
  select: { isDistinct: false, items: [] },
  from: { tables: [], conditions: NO_CONDITIONS },
  where: NO_CONDITIONS,
  groupBy: [],
  having: NO_CONDITIONS,
  orderBy: null,
  limit: null,
  intersect: null,
  union: null,
  except: null,
};

/** The conditions of FROM, WHERE and HAVING together, as the definitions of hardness and keywords need them. */
export function allConditions({ from, where, having }: SpiderQuery): Conditions {
  const parts = [from.conditions, where, having];
  return { units: parts.flatMap(({ units }) => units), joins: parts.flatMap(({ joins }) => joins) };
}

/** Queries inside conditions, and those behind INTERSECT, EXCEPT and UNION; not those in FROM. */
export function nestedQueries(query: SpiderQuery): SpiderQuery[] {
  const inConditions = allConditions(query).units.flatMap(({ value, upper }) =>
    [value, upper].flatMap((side) => (side?.kind === "query" ? [side.query] : [])),
  );
  return [...inConditions, ...[query.intersect, query.except, query.union].filter((one) => one !== null)];
}
