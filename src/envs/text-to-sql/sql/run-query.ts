/** Runs one statement on an open connection and reads its rows up to a limit. Synchronous; deadlines are the pool's. */
import { messageOf } from "../../../base/index.js";
import { asBytes, fromBytes } from "./any-text.js";
import { checkStatement } from "./check-statement.js";
import { type Connection, DatabaseProblem } from "./connection.js";
import type { SqlFailure, SqlRow, SqlRows, SqlValue } from "./outcome.js";
import { prepareWithQuotedStrings } from "./quoted-strings.js";

const MAX_MESSAGE_CHARACTERS = 500;

export interface QueryLimits {
  readonly maxRows: number;
  /** Of all values together, text counted by its characters. */
  readonly maxBytes: number;
}

export interface QueryOptions extends QueryLimits {
  /**
   * Fetches text as bytes. libsql ends the process at text that is not UTF-8, so a statement at which one died runs
   * again in this way.
   */
  readonly isCareful: boolean;
}

/** @throws DatabaseProblem when the database fails, not the statement */
export function runQuery(connection: Connection, sql: string, options: QueryOptions): SqlRows | SqlFailure {
  const checked = checkStatement(sql, connection.forbidden);
  if (checked.kind !== "checked") return checked;
  const { sqlite } = connection;
  try {
    const plain = prepareWithQuotedStrings(checked.sql, checked.tokens, (text) => sqlite.prepare(text));
    if (!plain.statement.reader)
      return { kind: "denied", message: "only a statement with a result is allowed" };
    const columns = plain.statement.columns().map(({ name }) => name);
    const careful = options.isCareful ? sqlite.prepare(asBytes(plain.sql, columns.length)) : null;
    const read = (isExact: boolean): ReadRows =>
      readRows((careful ?? plain.statement).raw().safeIntegers(isExact).iterate(), careful !== null, options);
    let result = read(false);
    // Whole numbers beyond 2^53 have been rounded: read them once more, exactly.
    if (!("message" in result) && result.hasLargeNumber) result = read(true);
    if ("message" in result) return result;
    return { kind: result.rows.length === 0 ? "empty" : "rows", columns, rows: result.rows };
  } catch (error) {
    return failureOf(error);
  }
}

type ReadRows = { readonly rows: readonly SqlRow[]; readonly hasLargeNumber: boolean } | SqlFailure;

function readRows(
  iterator: Iterator<unknown>,
  isCareful: boolean,
  { maxRows, maxBytes }: QueryLimits,
): ReadRows {
  const rows: SqlRow[] = [];
  let bytes = 0;
  let hasLargeNumber = false;
  for (let next = iterator.next(); !next.done; next = iterator.next()) {
    if (rows.length === maxRows) return tooLarge(`more than ${maxRows} rows`);
    const values = next.value as SqlValue[]; // raw mode
    const row = (isCareful ? fromBytes(values) : values).map(plainNumber);
    for (const value of row) {
      if (typeof value === "string") bytes += value.length;
      else if (typeof value === "number") hasLargeNumber ||= Math.abs(value) > Number.MAX_SAFE_INTEGER;
      else if (typeof value === "object" && value !== null) bytes += value.byteLength;
    }
    if ((bytes += 8 * row.length) > maxBytes) return tooLarge(`more than ${maxBytes} bytes`);
    rows.push(row);
  }
  return { rows, hasLargeNumber };
}

/** Whole numbers are bigints only where they must be. */
function plainNumber(value: SqlValue): SqlValue {
  return typeof value === "bigint" && BigInt.asIntN(53, value) === value ? Number(value) : value;
}

function tooLarge(what: string): SqlFailure {
  return { kind: "too_large", message: `the result has ${what}` };
}

/** Codes of SQLite that speak of the file or the machine, not of the statement. */
const DATABASE_CODES =
  /^SQLITE_(BUSY|LOCKED|CORRUPT|NOTADB|CANTOPEN|IOERR|PERM|PROTOCOL|READONLY_|FULL|NOLFS|SCHEMA)/;

function failureOf(error: unknown): SqlFailure {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const message = clipped(messageOf(error));
  if (code === "") throw error;
  if (DATABASE_CODES.test(code))
    throw new DatabaseProblem(`Cannot read database: ${message} (${code})`, { cause: error });
  if (code.startsWith("SQLITE_NOMEM") || code.startsWith("SQLITE_TOOBIG"))
    return { kind: "too_large", message };
  if (code.startsWith("SQLITE_AUTH") || code.startsWith("SQLITE_READONLY"))
    return { kind: "denied", message };
  if (/^no such table: /.test(message)) return { kind: "no_such_table", message };
  if (/^no such column: /.test(message)) return { kind: "no_such_column", message };
  if (/syntax error|incomplete input|unrecognized token|parser stack overflow/.test(message))
    return { kind: "syntax_error", message };
  return { kind: "error", message };
}

/** SQLite repeats the names it does not know, however long. */
function clipped(message: string): string {
  return message.length > MAX_MESSAGE_CHARACTERS ? `${message.slice(0, MAX_MESSAGE_CHARACTERS)}…` : message;
}
