/**
 * SQL in one spelling, with the same meaning: lower case, aliases of tables replaced by the tables' names, texts in
 * single quotes, no closing semicolon. What a small model sees has then fewer words and one way to say a thing.
 */
import type { DatabaseSchema } from "./schema.js";
import { lexSql, type SqlToken } from "./sql-lexer.js";
import { type PlainToken, printSql } from "./sql-printer.js";
import { findScopes, ownerOf, type Scope, type ScopedTokens } from "./sql-scopes.js";

/** @throws SqlSyntaxError when `sql` has no tokens */
export function normaliseSql(sql: string, schema: DatabaseSchema): string {
  return printSql(normalisedTokens(sql, schema));
}

export function normalisedTokens(sql: string, schema: DatabaseSchema): PlainToken[] {
  const tokens = lexSql(sql);
  while (tokens.at(-1)?.kind === "sign" && tokens.at(-1)?.value === ";") tokens.pop();
  const scoped = findScopes(tokens);
  const kept = aliasesToKeep(tokens, scoped);
  const isDropped = new Set(
    scoped.all.flatMap(({ tables }) =>
      tables.flatMap((reference) =>
        reference.alias !== undefined && reference.table !== undefined && !kept.has(reference)
          ? reference.aliasAt
          : [],
      ),
    ),
  );
  const columnsOf = new Map(
    schema.tables.map((table) => [
      table.name.toLowerCase(),
      new Set(table.columns.map((column) => column.name.toLowerCase())),
    ]),
  );
  return tokens.flatMap((token, at): PlainToken[] => {
    if (isDropped.has(at)) return [];
    const isQualifier = isSign(tokens[at + 1], ".") && (token.kind === "word" || token.kind === "quoted");
    if (isQualifier && !isSign(tokens[at - 1], ".")) {
      const owner = ownerOf(token.value.toLowerCase(), scoped.scopes[at]);
      const table = owner?.reference.table;
      if (owner !== undefined && table !== undefined && !kept.has(owner.reference)) {
        return [{ kind: "name", value: table }];
      }
      return [{ kind: "name", value: token.value.toLowerCase() }];
    }
    if (token.kind !== "quoted") return [token];
    const isName =
      token.quote === "`" ||
      token.quote === "[" ||
      isSign(tokens[at - 1], ".") ||
      scoped.tablesAt.has(at) ||
      isAlias(at, tokens, scoped) ||
      (token.quote === '"' && isColumn(token.value.toLowerCase(), scoped.scopes[at], columnsOf));
    return [{ kind: isName ? "name" : "text", value: isName ? token.value.toLowerCase() : token.value }];
  });
}

function isSign(token: SqlToken | undefined, value: string): boolean {
  return token?.kind === "sign" && token.value === value;
}

function isAlias(at: number, tokens: readonly SqlToken[], { all }: ScopedTokens): boolean {
  const before = tokens[at - 1];
  if (before?.kind === "word" && before.value === "as") return true;
  return all.some(({ tables }) => tables.some(({ aliasAt }) => aliasAt.includes(at)));
}

/** SQLite takes a double-quoted word for a column where one of that name is in reach, else for a text. */
function isColumn(
  name: string,
  scope: Scope | undefined,
  columnsOf: ReadonlyMap<string, ReadonlySet<string>>,
): boolean {
  for (let at = scope; at !== undefined; at = at.outer) {
    if (at.tables.some(({ table }) => table !== undefined && columnsOf.get(table)?.has(name))) return true;
  }
  return false;
}

/**
 * Aliases without which a name would mean something else: of a table that stands twice in one FROM, and of an outer
 * table where a scope between the reference and its owner lists the same table.
 */
function aliasesToKeep(tokens: readonly SqlToken[], { scopes, all }: ScopedTokens): ReadonlySet<object> {
  const kept = new Set<object>();
  for (const { tables } of all) {
    for (const reference of tables) {
      const twins = tables.filter(({ table }) => table !== undefined && table === reference.table);
      if (twins.length > 1) for (const twin of twins) kept.add(twin);
    }
  }
  tokens.forEach((token, at) => {
    if (token.kind === "sign" || token.kind === "number" || !isSign(tokens[at + 1], ".")) return;
    const owner = ownerOf(token.value.toLowerCase(), scopes[at]);
    for (let inner = scopes[at]; inner !== undefined && inner !== owner?.scope; inner = inner.outer) {
      if (owner !== undefined && inner.tables.some(({ table }) => table === owner.reference.table)) {
        kept.add(owner.reference);
      }
    }
  });
  return kept;
}
