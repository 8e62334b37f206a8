/**
 * Spider's hardness of a query: how many clauses, nested queries and further complications it has.
 * Paper: Yu et al., arXiv:1809.08887, section 4; the counts follow the benchmark's evaluation script, whose oddities
 * (a NOT in WHERE and an AND in HAVING count as aggregates) are kept, because the published levels have them.
 */
import type { DatabaseSchema } from "../schema.js";
import { parseSpiderQuery } from "./parse.js";
import { allConditions, nestedQueries, type SpiderQuery } from "./query.js";

export const HARDNESS_LEVELS = ["easy", "medium", "hard", "extra"] as const;
export type Hardness = (typeof HARDNESS_LEVELS)[number];

export function hardnessOf(query: SpiderQuery): Hardness {
  const clauses = clauseCount(query);
  const nested = nestedQueries(query).length;
  const others = complicationCount(query);
  if (nested === 0) {
    if (clauses <= 1 && others === 0) return "easy";
    if ((clauses <= 1 && others <= 2) || (clauses <= 2 && others < 2)) return "medium";
    if ((clauses <= 2 && others > 2) || (clauses === 3 && others <= 2)) return "hard";
    return "extra";
  }
  return nested === 1 && clauses <= 1 && others === 0 ? "hard" : "extra";
}

/** @throws SqlSyntaxError when `sql` is outside Spider's grammar */
export function hardnessOfSql(sql: string, schema: DatabaseSchema): Hardness {
  return hardnessOf(parseSpiderQuery(sql, schema));
}

/** WHERE, GROUP BY, ORDER BY, LIMIT, each JOIN, each OR, each LIKE. */
function clauseCount(query: SpiderQuery): number {
  const { units, joins } = allConditions(query);
  const present = [
    query.where.units.length > 0,
    query.groupBy.length > 0,
    query.orderBy !== null,
    query.limit !== null,
  ].filter(Boolean).length;
  return (
    present +
    Math.max(0, query.from.tables.length - 1) +
    joins.filter((join) => join === "or").length +
    units.filter(({ operator }) => operator === "like").length
  );
}

/** More than one aggregate, selected column, condition, or grouping column: one for each that holds. */
function complicationCount(query: SpiderQuery): number {
  const orderUnits = query.orderBy?.units ?? [];
  const aggregates =
    query.select.items.filter(({ aggregate }) => aggregate !== "none").length +
    query.where.units.filter(({ isNegated }) => isNegated).length +
    query.groupBy.filter(({ aggregate }) => aggregate !== "none").length +
    orderUnits
      .flatMap(({ left, right }) => [left, right])
      .filter((unit) => (unit?.aggregate ?? "none") !== "none").length +
    query.having.units.filter(({ isNegated }) => isNegated).length +
    query.having.joins.length;
  return [
    aggregates > 1,
    query.select.items.length > 1,
    query.where.units.length > 1,
    query.groupBy.length > 1,
  ].filter(Boolean).length;
}
