/**
 * Reading text that need not be UTF-8: libsql ends the process at such text, so that it is fetched as bytes. Knows rows,
 * not where they come from.
 */
import type Sqlite from "libsql";
import type { SqlRow, SqlValue } from "./outcome.js";
import { decodeUtf8 } from "./utf8.js";

/** Two columns for each of `sql`: its type, and its value with text as bytes. */
export function asBytes(sql: string, columnCount: number): string {
  const names = Array.from({ length: columnCount }, (_, i) => `c${i}`);
  const selected = names.map(
    (name) => `typeof(${name}), iif(typeof(${name}) = 'text', CAST(${name} AS BLOB), ${name})`,
  );
  return `WITH hone_result(${names.join()}) AS (${sql}) SELECT ${selected.join()} FROM hone_result`;
}

/** A row of `asBytes` as the statement itself would give it. */
export function fromBytes(values: readonly SqlValue[]): SqlRow {
  return Array.from({ length: values.length / 2 }, (_, i) => {
    const value = values[2 * i + 1]!;
    return values[2 * i] === "text" ? decodeUtf8(value as Uint8Array) : value; // by the CAST above
  });
}

/** All rows of a SELECT of ours on somebody's data. */
export function readAnyText(file: Sqlite.Database, sql: string): SqlRow[] {
  const columnCount = file.prepare(sql).columns().length;
  const rows = file.prepare(asBytes(sql, columnCount)).raw().all() as SqlValue[][]; // raw mode
  return rows.map(fromBytes);
}
