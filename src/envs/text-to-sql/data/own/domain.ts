/** What a made database is: tables with columns that can be filled, and the words people use for them. */

/** A column of names, each used once in a table. */
export interface NameColumn {
  readonly kind: "name";
  readonly name: string;
  readonly phrases: readonly string[];
  readonly values: readonly string[];
}

/** A column of few values, worth grouping by. */
export interface CategoryColumn {
  readonly kind: "category";
  readonly name: string;
  readonly phrases: readonly string[];
  readonly values: readonly string[];
}

/** A column of whole numbers between `low` and `high` in steps of `step`. */
export interface NumberColumn {
  readonly kind: "number";
  readonly name: string;
  readonly phrases: readonly string[];
  readonly low: number;
  readonly high: number;
  readonly step: number;
  /** "older than", and so on: comparisons that do not name the column. */
  readonly above?: readonly string[];
  readonly below?: readonly string[];
  /** "oldest", "youngest". */
  readonly most?: readonly string[];
  readonly least?: readonly string[];
}

export type DomainColumn = NameColumn | CategoryColumn | NumberColumn;

export interface DomainTable {
  readonly name: string;
  /** Words for its rows, in the plural. */
  readonly plurals: readonly string[];
  readonly rows: number;
  readonly columns: readonly DomainColumn[];
}

/** One database: a table, or a table and the rows that belong to it (`child.parent_id` refers to `parent.id`). */
export interface Domain {
  readonly name: string;
  readonly table: DomainTable;
  readonly parent?: {
    readonly table: DomainTable;
    /** The column of `table` that refers to the parent's `id`. */
    readonly key: string;
    /** How a child relates to its parent: "of", "at", "from". */
    readonly relation: string;
  };
}
