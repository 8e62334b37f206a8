/**
 * What Spider's own evaluation says of imperfect predictions (tools/golden/spider.py makes it). The file holds spans and
 * numbers in place of Spider's words; the predictions come back with Spider's data at hand.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** A span of the example's gold query, a span of another's, plain words, or a name of the database's tables.json. */
type Piece =
  | readonly [start: number, end: number]
  | readonly [example: number, start: number, end: number]
  | string
  | { readonly column: number }
  | { readonly table: number };

export interface GoldenPrediction {
  /** Its place in dev.json. */
  readonly example: number;
  readonly pieces: readonly Piece[];
  /** How the gold query was changed. */
  readonly changes: readonly string[];
  /** Of gold. */
  readonly hardness: "easy" | "medium" | "hard" | "extra";
  /** Whether the script could read the prediction; an empty query stands in for it otherwise. */
  readonly isParsed: boolean;
  readonly exact: 0 | 1;
  /** With DISTINCT kept, and removed. */
  readonly executed: readonly [0 | 1, 0 | 1];
  /** Of the ten components: score, units in the prediction, units in gold, as in "01/2". */
  readonly components: string;
}

/** What is needed of Spider's files. */
export interface SpiderNames {
  /** In the order of dev.json. */
  readonly queries: readonly string[];
  /** In the order of tables.json. */
  readonly columns: readonly string[];
  readonly tables: readonly string[];
}

export function readGoldenSpider(): readonly GoldenPrediction[] {
  return JSON.parse(readFileSync(join(import.meta.dirname, "spider.json"), "utf8")) as GoldenPrediction[]; // the tool's form
}

export function predictionOf({ example, pieces }: GoldenPrediction, names: SpiderNames): string {
  const textOf = (piece: Piece): string => {
    if (typeof piece === "string") return piece;
    if ("column" in piece) return names.columns[piece.column]!;
    if ("table" in piece) return names.tables[piece.table]!;
    const [from, start, end] = piece.length === 3 ? piece : [example, ...piece];
    return names.queries[from]!.slice(start, end);
  };
  let sql = "";
  for (const text of pieces.map(textOf)) {
    const isGlued =
      sql.endsWith(".") ||
      text.startsWith(".") ||
      (/(?:max|min|count|sum|avg)$/i.test(sql) && text.startsWith("("));
    sql += sql === "" || isGlued ? text : ` ${text}`;
  }
  return sql;
}
