/** SQLite's tokens, as far as needed to see what a statement is before SQLite sees it. Knows no grammar. */

export type TokenKind =
  /** A bare word: keyword, name or function. */
  | "word"
  /** "…", `…` or […]. */
  | "quoted"
  /** '…'. */
  | "string"
  | "number"
  | "blob"
  /** ?1, :a, @a or $a. */
  | "parameter"
  | "symbol"
  /** A quote or comment without an end, or a character that begins nothing. */
  | "broken";

export interface SqlToken {
  readonly kind: TokenKind;
  /** The word, or what is between the quotes with doubled quotes undone. */
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

/** A vertical tab is white space behind other white space only; alone it begins nothing. */
const SPACE = /[ \t\n\f\r][ \t\n\v\f\r]*|\uFEFF/y;
const WORD = /[A-Za-z_\u0080-\uFFFF][\w$\u0080-\uFFFF]*/y;
const BLOB = /[xX]'[0-9a-fA-F]*'/y;
const NUMBER = /0[xX][0-9a-fA-F]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?/y;
const PARAMETER = /\?[0-9]*|[:@$#][\w$\u0080-\uFFFF]+/y;
const SYMBOL = /\|\||->>?|<>|<<|<=|>>|>=|==|!=|[-+*/%=<>!|&~,.;()]/y;

/** The tokens without white space and comments. */
export function sqlTokens(sql: string): readonly SqlToken[] {
  const tokens: SqlToken[] = [];
  let at = 0;
  const endOf = (pattern: RegExp): number => {
    pattern.lastIndex = at;
    return pattern.test(sql) ? pattern.lastIndex : -1;
  };
  const take = (kind: TokenKind, end: number, value = sql.slice(at, end)): void => {
    tokens.push({ kind, value, start: at, end });
    at = end;
  };
  while (at < sql.length) {
    let end = endOf(SPACE);
    if (end > 0) at = end;
    else if (sql.startsWith("--", at)) at = orEnd(sql.indexOf("\n", at), 0, sql);
    // SQLite closes an open comment at the end of the text.
    else if (sql.startsWith("/*", at)) at = orEnd(sql.indexOf("*/", at + 2), 2, sql);
    else if (CLOSING[sql[at]!] !== undefined) {
      const closing = CLOSING[sql[at]!]!;
      end = closingQuote(sql, at + 1, closing);
      const inner = sql.slice(at + 1, end).replaceAll(closing + closing, closing);
      if (end === -1) take("broken", sql.length);
      else
        take(
          closing === "'" ? "string" : "quoted",
          end + 1,
          closing === "]" ? sql.slice(at + 1, end) : inner,
        );
    } else if ((end = endOf(BLOB)) > 0) take("blob", end);
    else if ((end = endOf(WORD)) > 0) take("word", end);
    else if ((end = endOf(NUMBER)) > 0) take("number", end);
    else if ((end = endOf(PARAMETER)) > 0) take("parameter", end);
    else if ((end = endOf(SYMBOL)) > 0) take("symbol", end);
    else take("broken", at + 1);
  }
  return tokens;
}

const CLOSING: Readonly<Record<string, string>> = { "'": "'", '"': '"', "`": "`", "[": "]" };

/** Where the quote closes, a doubled one being none; -1 if nowhere. */
function closingQuote(sql: string, from: number, quote: string): number {
  for (let at = from; ; at += 2) {
    at = sql.indexOf(quote, at);
    if (at === -1 || quote === "]" || sql[at + 1] !== quote) return at;
  }
}

function orEnd(found: number, length: number, sql: string): number {
  return found === -1 ? sql.length : found + length;
}
