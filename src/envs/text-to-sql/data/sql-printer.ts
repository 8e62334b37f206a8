/** Tokens back to SQL, in one spelling: lower case, one space, texts in single quotes, names bare where they can be. */
import type { SqlToken } from "./sql-lexer.js";

/** Words that no bare name may be, and that have a space before a parenthesis. */
export const RESERVED = new Set(
  "select from where group by having order limit offset intersect union except all distinct as on join inner left right full cross natural outer and or not in like between is null exists case when then else end asc desc cast values using glob".split(
    " ",
  ),
);
const BARE_NAME = /^[a-z_][a-z0-9_]*$/;

/** A token whose meaning is settled: a quoted one is a text or a name. */
export type PlainToken =
  | Exclude<SqlToken, { kind: "quoted" }>
  | { readonly kind: "text" | "name"; readonly value: string };

export function printSql(tokens: readonly PlainToken[]): string {
  let sql = "";
  tokens.forEach((token, i) => {
    const before = tokens[i - 1];
    sql += before === undefined || isGlued(tokens, i) ? "" : " ";
    sql += spellToken(token);
  });
  return sql;
}

export function spellToken(token: PlainToken): string {
  if (token.kind === "text") return `'${token.value.replaceAll("'", "''")}'`;
  if (token.kind !== "name") return token.value;
  const name = token.value.toLowerCase();
  return BARE_NAME.test(name) && !RESERVED.has(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** Whether no space stands between token `i` and the one before it. */
function isGlued(tokens: readonly PlainToken[], i: number): boolean {
  const token = tokens[i]!;
  const before = tokens[i - 1]!;
  const isSign = (one: PlainToken, value: string): boolean => one.kind === "sign" && one.value === value;
  if ([".", ",", ")", ";"].some((sign) => isSign(token, sign))) return true;
  if (isSign(before, ".") || isSign(before, "(")) return true;
  if (isSign(token, "("))
    return before.kind === "name" || (before.kind === "word" && !RESERVED.has(before.value));
  return isSign(before, "-") && isUnary(tokens, i - 1);
}

/** Whether the sign at `i` has nothing to its left to work on. */
function isUnary(tokens: readonly PlainToken[], i: number): boolean {
  const before = tokens[i - 1];
  if (before === undefined) return true;
  if (before.kind === "sign") return before.value !== ")";
  return before.kind === "word" && RESERVED.has(before.value);
}
