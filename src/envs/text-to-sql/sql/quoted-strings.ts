/**
 * Double-quoted strings. SQLite as most know it takes "Paris" for a string where no column has that name, and a fifth
 * of Spider's gold queries rely on it; libsql is built without this. So it is done here, from SQLite's own complaint.
 */
import { isSymbol } from "./check-statement.js";
import { type SqlToken, sqlTokens } from "./tokens.js";

const NO_SUCH_COLUMN = /^no such column: (.*)$/s;

/**
 * Prepares `sql`, with double-quoted names that are no columns made strings.
 *
 * @throws what `prepare` throws, when that is not to be mended so
 */
export function prepareWithQuotedStrings<Statement>(
  sql: string,
  tokens: readonly SqlToken[],
  prepare: (sql: string) => Statement,
): { readonly statement: Statement; readonly sql: string } {
  let current = sql;
  let currentTokens = tokens;
  for (;;) {
    try {
      return { statement: prepare(current), sql: current };
    } catch (error) {
      const name = error instanceof Error ? NO_SUCH_COLUMN.exec(error.message)?.[1] : undefined;
      if (name === undefined) throw error;
      const occurrences = currentTokens.filter((_, i) => isLooseQuoted(current, currentTokens, i, name));
      if (occurrences.length === 0) throw error;
      current = withStrings(current, unresolvable(current, occurrences, name, prepare));
      currentTokens = sqlTokens(current);
    }
  }
}

/** A double-quoted name that stands alone: a.b is never a string. */
function isLooseQuoted(sql: string, tokens: readonly SqlToken[], index: number, name: string): boolean {
  const { kind, value, start } = tokens[index]!;
  return (
    kind === "quoted" &&
    sql[start] === '"' &&
    value === name &&
    !isSymbol(tokens[index - 1], ".") &&
    !isSymbol(tokens[index + 1], ".")
  );
}

/** Of several occurrences of a name, those that are no column where they stand. */
function unresolvable(
  sql: string,
  occurrences: readonly SqlToken[],
  name: string,
  prepare: (sql: string) => unknown,
): readonly SqlToken[] {
  if (occurrences.length === 1) return occurrences;
  const found = occurrences.filter((kept) => {
    try {
      prepare(
        withStrings(
          sql,
          occurrences.filter((token) => token !== kept),
        ),
      );
      return false;
    } catch (error) {
      return error instanceof Error && NO_SUCH_COLUMN.exec(error.message)?.[1] === name;
    }
  });
  return found.length === 0 ? occurrences : found;
}

function withStrings(sql: string, tokens: readonly SqlToken[]): string {
  let result = sql;
  for (const { start, end, value } of [...tokens].reverse())
    result = `${result.slice(0, start)}'${value.replaceAll("'", "''")}'${result.slice(end)}`;
  return result;
}
