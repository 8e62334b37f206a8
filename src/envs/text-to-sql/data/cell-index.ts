/** The texts that stand in a database's cells, found by their lower-case form. Read once per database. */
import type Sqlite from "libsql";
import { readAnyText, type SqlRow } from "../sql/index.js";
import { openToRead } from "./open-to-read.js";
import type { SqlDatabase } from "./spider.js";

export interface CellText {
  /** As most cells spell it. */
  readonly text: string;
  /** `table.column` of the columns that hold it, in lower case. */
  readonly columns: readonly string[];
}

export interface CellIndex {
  /** Every spelling of cells that equal `lower` but for case, most frequent first. */
  find(lower: string): readonly CellText[];
  /** Words of the longest text. */
  readonly longest: number;
}

/** Beyond these a column is no list of names: what it holds is not looked up. */
const MOST_TEXTS = 20_000;
const LONGEST_TEXT = 60;

/** @param excluded lower-case texts to leave out: a table's own words say nothing about its cells */
export function indexCells({ name, path, schema }: SqlDatabase, excluded: ReadonlySet<string>): CellIndex {
  const found = new Map<string, Map<string, { count: number; columns: Set<string> }>>();
  let longest = 0;
  const file = openToRead(path, name);
  try {
    for (const table of schema.tables) {
      for (const column of table.columns) {
        for (const [text, count] of textsOf(file, table.name, column.name)) {
          const lower = text.toLowerCase().trim();
          if (lower === "" || excluded.has(lower) || /^[\d.]+$/.test(lower)) continue;
          longest = Math.max(longest, lower.split(/\s+/).length);
          const spellings = found.get(lower) ?? new Map<string, { count: number; columns: Set<string> }>();
          const one = spellings.get(text) ?? { count: 0, columns: new Set() };
          one.count += count;
          one.columns.add(`${table.name}.${column.name}`.toLowerCase());
          spellings.set(text, one);
          found.set(lower, spellings);
        }
      }
    }
  } finally {
    file.close();
  }
  return {
    longest,
    find: (lower) =>
      [...(found.get(lower) ?? [])]
        .sort((a, b) => b[1].count - a[1].count)
        .map(([text, { columns }]) => ({ text, columns: [...columns] })),
  };
}

function textsOf(file: Sqlite.Database, table: string, column: string): [string, number][] {
  const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
  const [t, c] = [quoted(table), quoted(column)];
  let rows: SqlRow[];
  try {
    rows = readAnyText(
      file,
      `SELECT ${c}, count(*) FROM ${t} WHERE typeof(${c}) = 'text' AND length(${c}) <= ${LONGEST_TEXT} GROUP BY ${c} LIMIT ${MOST_TEXTS}`,
    );
  } catch (thrown) {
    // tables.json may name what the file has not: it holds nothing to link.
    if (thrown instanceof Error) return [];
    throw thrown;
  }
  return rows.flatMap(([text, count]): [string, number][] =>
    typeof text === "string" && typeof count === "number" ? [[text, count]] : [],
  );
}
