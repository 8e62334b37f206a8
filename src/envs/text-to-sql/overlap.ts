/**
 * Partial credit: how much of the gold query's tables, columns and clauses a query has.
 *
 *     overlap(P, G) = 2 |P ∩ G| / (|P| + |G|)        P, G: sets of what the predicted and the gold query name
 *
 * One F1 over all three kinds: naming everything costs precision, and an empty kind is worth nothing. Read from tokens,
 * so that SQL with a mistake still counts, and with the schema, so that words that are no table and no column do not.
 */
import type { DatabaseSchema } from "./data/index.js";
import { type SqlToken, sqlTokens } from "./sql/index.js";

export interface Overlap {
  /** In 0–1. */
  readonly score: number;
  /** In the gold query only, as `table:pets`, `column:age`, `clause:where`. */
  readonly missing: readonly string[];
  /** In the predicted query only. */
  readonly extra: readonly string[];
}

const CLAUSES = new Set(
  "select distinct where group having order limit join intersect union except in like between not exists or count sum avg min max desc".split(
    " ",
  ),
);

export function queryOverlap(predicted: string, gold: string, schema: DatabaseSchema): Overlap {
  const found = partsOf(predicted, schema);
  const wanted = partsOf(gold, schema);
  const missing = [...wanted].filter((part) => !found.has(part));
  const extra = [...found].filter((part) => !wanted.has(part));
  const both = wanted.size - missing.length;
  const total = found.size + wanted.size;
  return { score: total === 0 ? 0 : (2 * both) / total, missing, extra };
}

/** What a query names. Aliases and texts are neither tables nor columns; a second SELECT is a part of its own. */
function partsOf(sql: string, schema: DatabaseSchema): Set<string> {
  const tables = new Set(schema.tables.map(({ name }) => name.toLowerCase()));
  const columns = new Set(
    schema.tables.flatMap((table) => table.columns.map(({ name }) => name.toLowerCase())),
  );
  const tokens = sqlTokens(sql);
  const parts = new Set<string>();
  let selects = 0;
  tokens.forEach((token, at) => {
    if (token.kind !== "word" && token.kind !== "quoted") return;
    const value = token.value.toLowerCase();
    if (token.kind === "word" && CLAUSES.has(value)) {
      parts.add(value === "select" ? `clause:select ${++selects}` : `clause:${value}`);
      return;
    }
    const isTable = tables.has(value);
    if (isTable && (standsForTable(tokens, at) || !columns.has(value))) parts.add(`table:${value}`);
    else if (columns.has(value)) parts.add(`column:${value}`);
  });
  return parts;
}

/** After FROM or JOIN, or before a dot. */
function standsForTable(tokens: readonly SqlToken[], at: number): boolean {
  const before = tokens[at - 1];
  const after = tokens[at + 1];
  return (
    (before?.kind === "word" && ["from", "join"].includes(before.value.toLowerCase())) ||
    (after?.kind === "symbol" && after.value === ".")
  );
}
