/** What names in a query mean: aliases to tables, columns to `table.column`. Everything in lower case. */
import type { DatabaseSchema } from "../schema.js";
import type { SqlToken } from "../sql-lexer.js";

export interface ColumnScope {
  /** The table of that name, or undefined. */
  table(name: string): string | undefined;
  /** `table.column` of a name, with or without a qualifier, where FROM lists `tables`. */
  column(qualifier: string | undefined, name: string, tables: readonly string[]): string | undefined;
}

/** Aliases are collected over the whole query; a later one of the same name wins, as in the benchmark. */
export function createColumnScope(schema: DatabaseSchema, tokens: readonly SqlToken[]): ColumnScope {
  const columnsOf = new Map(
    schema.tables.map((table) => [
      table.name.toLowerCase(),
      new Set(table.columns.map((column) => column.name.toLowerCase())),
    ]),
  );
  const aliases = collectAliases(tokens, columnsOf);
  const owned = (table: string | undefined, name: string): string | undefined =>
    table !== undefined && columnsOf.get(table)?.has(name) ? `${table}.${name}` : undefined;
  return {
    table: (name) => (columnsOf.has(name) ? name : undefined),
    column(qualifier, name, tables) {
      if (qualifier === undefined) {
        const owner = tables.find((table) => columnsOf.get(table)?.has(name));
        return owned(owner, name);
      }
      const meant = aliases.get(qualifier) ?? [];
      // The last meaning wins; an earlier one is what SQL meant where the last has no such column.
      for (const table of [...(columnsOf.has(qualifier) ? [qualifier] : []), ...meant.toReversed()]) {
        const found = owned(table, name);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** `table AS alias` and `table alias`, wherever a table is named. */
function collectAliases(
  tokens: readonly SqlToken[],
  tables: ReadonlyMap<string, unknown>,
): ReadonlyMap<string, readonly string[]> {
  const aliases = new Map<string, string[]>();
  tokens.forEach((token, at) => {
    if (token.kind !== "word" && token.kind !== "quoted") return;
    const table = token.value.toLowerCase();
    if (!tables.has(table)) return;
    const after = tokens[at + 1];
    const isAs = after?.kind === "word" && after.value === "as";
    const alias = isAs ? tokens[at + 2] : after;
    if (alias === undefined || (alias.kind !== "word" && alias.kind !== "quoted")) return;
    if (!isAs && !startsTable(tokens[at - 1])) return;
    const name = alias.value.toLowerCase();
    aliases.set(name, [...(aliases.get(name) ?? []), table]);
  });
  return aliases;
}

function startsTable(before: SqlToken | undefined): boolean {
  return before !== undefined && before.kind !== "quoted" && ["from", "join", ","].includes(before.value);
}
