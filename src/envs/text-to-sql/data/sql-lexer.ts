/** SQL text to tokens: words, literals and signs. SQLite's dialect, no grammar; what it cannot read it says. */

export type SqlToken =
  /** A keyword or an identifier without quotes; `value` is lower case. */
  | { readonly kind: "word"; readonly value: string; readonly raw: string }
  /** `value` is the text inside the quotes. Whether a double-quoted one is a string depends on the schema. */
  | { readonly kind: "quoted"; readonly value: string; readonly quote: "'" | '"' | "`" | "[" }
  | { readonly kind: "number"; readonly value: string }
  | { readonly kind: "sign"; readonly value: string };

/** Thrown for SQL that cannot be read; the message says where. Not a fault of ours: the SQL may be a model's. */
export class SqlSyntaxError extends Error {
  override name = "SqlSyntaxError";
}

const SPACE = /(?:\s|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))+/y;
const NUMBER = /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\p{L}\d_])/uy;
const WORD = /[\p{L}_%$@\d][\p{L}\p{M}\d_%$@]*/uy;
const SIGN = /\|\||<>|!=|>=|<=|==|<<|>>|[-+*/=<>(),.;&|~?:!]/y;
/** What a quoted name or text ends with. */
const CLOSING = { "'": "'", '"': '"', "`": "`", "[": "]" } as const;

/** @throws SqlSyntaxError at a quote that never closes or a character that SQL does not have */
export function lexSql(sql: string): SqlToken[] {
  const tokens: SqlToken[] = [];
  let at = 0;
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(sql)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  };
  while (at < sql.length) {
    if (match(SPACE) !== undefined) continue;
    const unit = sql[at]!;
    if (unit === "'" || unit === '"' || unit === "`" || unit === "[") {
      const { value, end } = readQuoted(sql, at, CLOSING[unit]);
      tokens.push({ kind: "quoted", value, quote: unit });
      at = end;
      continue;
    }
    const number = match(NUMBER);
    if (number !== undefined) {
      tokens.push({ kind: "number", value: number });
      continue;
    }
    const word = match(WORD);
    if (word !== undefined) {
      tokens.push({ kind: "word", value: word.toLowerCase(), raw: word });
      continue;
    }
    const sign = match(SIGN);
    if (sign === undefined) {
      throw new SqlSyntaxError(`character ${at + 1} is ${JSON.stringify(unit)}, expected SQL`);
    }
    tokens.push({ kind: "sign", value: sign === "<>" ? "!=" : sign === "==" ? "=" : sign });
  }
  return tokens;
}

/** A doubled quote stands for itself. */
function readQuoted(sql: string, start: number, closing: string): { value: string; end: number } {
  let value = "";
  for (let at = start + 1; at < sql.length; at++) {
    if (sql[at] !== closing) value += sql[at];
    else if (closing !== "]" && sql[at + 1] === closing) {
      value += closing;
      at++;
    } else return { value, end: at + 1 };
  }
  throw new SqlSyntaxError(`the ${sql[start]} at character ${start + 1} never closes, expected ${closing}`);
}
