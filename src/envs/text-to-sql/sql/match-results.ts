/**
 * Whether two results are the same, as the execution accuracy of Spider's test-suite evaluation has it: some order of
 * the columns makes them equal; the order of rows counts only where asked; duplicates count.
 *
 *     A ≅ B  ⇔  ∃ π: { (a_r1 … a_rm) }_r = { (b_rπ(1) … b_rπ(m)) }_r    as sequences, or as multisets
 *
 * Source: taoyds/test-suite-sql-eval, `exec_eval.py`. Differs from it in searching π column by column, by which it
 * finds one whenever there is one; the original first compares rows whose values are sorted by their text, and so
 * misses some pairs of results that differ in 1 against 1.0.
 * Values: 1 and 1.0 are equal, 1 and '1' are not; NULL equals NULL; text and blobs are never equal.
 */
import type { SqlRow, SqlValue } from "./outcome.js";

export interface MatchOptions {
  /** Rows must come in the same order. */
  readonly isOrdered: boolean;
}

export function resultsMatch(
  left: readonly SqlRow[],
  right: readonly SqlRow[],
  options: MatchOptions,
): boolean {
  if (left.length !== right.length) return false;
  if (left.length === 0) return true;
  if (left[0]!.length !== right[0]!.length) return false;
  if (left.every((row, index) => isSameRow(row, right[index]!))) return true;
  const ids = new Map<string, number>();
  const leftColumns = columnsOf(left, ids);
  const rightColumns = columnsOf(right, ids);
  return options.isOrdered
    ? sameColumns(leftColumns, rightColumns)
    : existsColumnOrder(leftColumns, rightColumns, ids.size);
}

function isSameRow(left: SqlRow, right: SqlRow): boolean {
  return left.every((value, column) => {
    const other = right[column]!;
    return value === other || valueKey(value) === valueKey(other);
  });
}

/** A value's identity: equal texts mean equal values. */
export function valueKey(value: SqlValue): string {
  if (value === null) return "null";
  if (typeof value === "string") return `'${value}`;
  if (typeof value === "bigint") return `#${value}`;
  if (typeof value === "number") {
    // Python compares integers and floats by their exact value.
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? `#${BigInt(value)}` : `#${value + 0}`;
  }
  return `x${Buffer.from(value).toString("hex")}`;
}

/** Values as small numbers, shared by both sides through `ids`. */
function columnsOf(rows: readonly SqlRow[], ids: Map<string, number>): readonly Int32Array[] {
  return rows[0]!.map((_, column) =>
    Int32Array.from(rows, (row) => {
      const key = valueKey(row[column]!);
      let id = ids.get(key);
      if (id === undefined) ids.set(key, (id = ids.size));
      return id;
    }),
  );
}

/** With rows in order, an order of the columns exists when both sides have the same columns equally often. */
function sameColumns(left: readonly Int32Array[], right: readonly Int32Array[]): boolean {
  const texts = (columns: readonly Int32Array[]): string[] => columns.map((column) => column.join()).sort();
  return texts(left).join(";") === texts(right).join(";");
}

/**
 * Assigns columns one after the other. Rows are classes: of the columns assigned so far, rows with the same values.
 * An assignment that leaves classes of different sizes cannot be completed, and at the end equal sizes are equality.
 */
function existsColumnOrder(
  left: readonly Int32Array[],
  right: readonly Int32Array[],
  valueCount: number,
): boolean {
  const rightProfiles = right.map(profileOf);
  const candidates = left.map((column) => {
    const profile = profileOf(column);
    return right.flatMap((_, index) => (rightProfiles[index] === profile ? [index] : []));
  });
  if (candidates.some(({ length }) => length === 0)) return false;
  // Columns that leave least choice and tell rows apart best go first.
  const distinct = left.map((column) => new Set(column).size);
  const order = left
    .map((_, index) => index)
    .sort((a, b) => candidates[a]!.length - candidates[b]!.length || distinct[b]! - distinct[a]!);
  const isTaken = right.map(() => false);

  const assign = (position: number, leftClasses: Float64Array, rightClasses: Float64Array): boolean => {
    const column = order[position];
    if (column === undefined) return true;
    const tried: Int32Array[] = [];
    for (const candidate of candidates[column]!) {
      const values = right[candidate]!;
      // A column equal to one that failed here fails as well.
      if (isTaken[candidate] || tried.some((other) => isSame(other, values))) continue;
      tried.push(values);
      const refined = refine(leftClasses, left[column]!, rightClasses, values, valueCount);
      if (refined === null) continue;
      isTaken[candidate] = true;
      if (assign(position + 1, ...refined)) return true;
      isTaken[candidate] = false;
    }
    return false;
  };
  const rowCount = left[0]!.length;
  return assign(0, new Float64Array(rowCount), new Float64Array(rowCount));
}

/** A column's values with their counts; equal texts mean equal multisets. */
function profileOf(column: Int32Array): string {
  return Int32Array.from(column).sort().join();
}

/** Both sides' classes with one more column each, or null when their sizes differ. */
function refine(
  leftClasses: Float64Array,
  leftValues: Int32Array,
  rightClasses: Float64Array,
  rightValues: Int32Array,
  valueCount: number,
): [Float64Array, Float64Array] | null {
  const classes = new Map<number, number>();
  const sizes: number[] = [];
  const left = leftClasses.map((before, row) => {
    const key = before * valueCount + leftValues[row]!;
    let id = classes.get(key);
    if (id === undefined) classes.set(key, (id = sizes.push(0) - 1));
    sizes[id]!++;
    return id;
  });
  const right = new Float64Array(rightClasses.length);
  for (const [row, before] of rightClasses.entries()) {
    const id = classes.get(before * valueCount + rightValues[row]!);
    if (id === undefined || --sizes[id]! < 0) return null;
    right[row] = id;
  }
  return [left, right];
}

function isSame(left: Int32Array, right: Int32Array): boolean {
  return left.every((value, row) => value === right[row]);
}
