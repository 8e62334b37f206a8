/** What Spider's test-suite evaluation changes in statements before it runs them. Source: taoyds/test-suite-sql-eval. */
import { sqlTokens } from "./tokens.js";

/** > =, < = and ! = joined, and the year of the current date fixed at 2020. */
export function officialRewrites(sql: string): string {
  return sql
    .replaceAll("> =", ">=")
    .replaceAll("< =", "<=")
    .replaceAll("! =", "!=")
    .replace(/YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*/gi, "2020");
}

/** The statement without the word DISTINCT, also inside count(…): the evaluation's default for its leaderboard. */
export function withoutDistinct(sql: string): string {
  let result = sql;
  for (const { kind, value, start, end } of [...sqlTokens(sql)].reverse()) {
    if (kind === "word" && value.toLowerCase() === "distinct")
      result = result.slice(0, start) + result.slice(end);
  }
  return result;
}

/** Whether the order of rows counts: the gold statement has ORDER BY anywhere. */
export function isOrdered(goldSql: string): boolean {
  return goldSql.toLowerCase().includes("order by");
}
