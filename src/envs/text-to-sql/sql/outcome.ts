/** What came of a piece of SQL, in words that a reward can use. */

export type SqlValue = number | bigint | string | Uint8Array | null;
export type SqlRow = readonly SqlValue[];

/** Ways in which a statement fails through its own fault: a reward may be low, but is a value. */
export type SqlFailureKind =
  | "syntax_error"
  | "no_such_table"
  | "no_such_column"
  /** Any other error SQLite gives: an unknown function, an ambiguous column, an overflow. */
  | "error"
  /** Not one reading statement, or it calls what no query needs. */
  | "denied"
  | "timeout"
  /** More rows, bytes or memory than allowed. */
  | "too_large";

export interface SqlFailure {
  readonly kind: SqlFailureKind;
  readonly message: string;
}

/** The database or our own machinery failed; says nothing about the statement. */
export interface SqlInvalid {
  readonly kind: "invalid";
  readonly message: string;
}

export interface SqlRows {
  /** "empty" has no rows. */
  readonly kind: "rows" | "empty";
  readonly columns: readonly string[];
  readonly rows: readonly SqlRow[];
}

export type SqlOutcome = SqlRows | SqlFailure | SqlInvalid;

/** Whether a statement ran to its end. */
export function hasRows(outcome: SqlOutcome): outcome is SqlRows {
  return outcome.kind === "rows" || outcome.kind === "empty";
}

/** What is known of a compared statement's result: its first rows, long values cut off, and how many there are. */
export interface SqlPreview extends SqlRows {
  readonly rowCount: number;
}

/** A statement measured against the gold one. */
export type SqlComparison =
  | {
      readonly kind: "compared";
      /** True when both results are the same in the sense of `resultsMatch`. */
      readonly isMatch: boolean;
      readonly predicted: SqlPreview | SqlFailure;
      readonly gold: SqlPreview;
      /** Statements that SQLite ran for this: 1, and 1 more when the gold result was not remembered. */
      readonly executions: number;
    }
  /** The database, the gold statement or our own machinery failed: no reward can be given. */
  | SqlInvalid;
