/**
 * A SQLite file opened for reading: what is read-only, what is switched off, which names are forbidden. The file must
 * be there and be a database; anything else is a `DatabaseProblem`, never the fault of a query.
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import Sqlite from "libsql";
import { messageOf } from "../../../base/index.js";
import type { ForbiddenNames } from "./check-statement.js";

export interface Connection {
  readonly sqlite: Sqlite.Database;
  readonly forbidden: ForbiddenNames;
  /** Changes when the file does. */
  readonly fingerprint: string;
}

/** The database is missing, locked, corrupt or no database. */
export class DatabaseProblem extends Error {
  override name = "DatabaseProblem";
}

export interface OpenOptions {
  /** How long to wait for another process that has locked the file. */
  readonly lockTimeoutMs: number;
  /** What SQLite may allocate in this process. */
  readonly heapLimitBytes: number;
}

/** Size of the header of a SQLite file. */
const HEADER_BYTES = 100;

export function openReadOnly(path: string, { lockTimeoutMs, heapLimitBytes }: OpenOptions): Connection {
  const fingerprint = fingerprintOf(path);
  let sqlite: Sqlite.Database | null = null;
  try {
    sqlite = new Sqlite(readOnlyAddress(path), { timeout: lockTimeoutMs });
    sqlite.prepare(`PRAGMA hard_heap_limit = ${heapLimitBytes}`).get();
    sqlite.exec("PRAGMA query_only = 1");
    sqlite.exec("PRAGMA trusted_schema = 0");
    sqlite.exec("PRAGMA cell_size_check = 1");
    sqlite.prepare("SELECT count(*) FROM sqlite_schema").get(); // reads the file for the first time
    return { sqlite, fingerprint, forbidden: forbiddenNames(sqlite) };
  } catch (error) {
    sqlite?.close();
    throw new DatabaseProblem(
      `Cannot open database ${path}: ${messageOf(error)}, expected a SQLite file that no other program has locked`,
      { cause: error },
    );
  }
}

/**
 * What to open instead of `path`, to only read it. libsql has no other way: it ignores `readonly: true`, opens for
 * writing, and makes the file if there is none.
 */
export function readOnlyAddress(path: string): string {
  return `${pathToFileURL(resolve(path)).href}?mode=ro`;
}

/** @throws DatabaseProblem when there is no such file, or it is too small for a database */
export function fingerprintOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isFile())
    throw new DatabaseProblem(
      `Cannot open database ${path}: ${stat === undefined ? "there is no such file" : "it is not a file"}, expected a SQLite file`,
    );
  if (stat.size < HEADER_BYTES)
    throw new DatabaseProblem(
      `Cannot open database ${path}: it has ${stat.size} bytes, expected a SQLite file of at least ${HEADER_BYTES}`,
    );
  return `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeMs}`;
}

/** Functions of stock SQLite that queries may use. What is built in beyond these is refused, whatever it is. */
const FUNCTIONS = new Set(
  `-> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling changes char coalesce concat concat_ws cos cosh
   count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor
   format glob group_concat hex ifnull iif instr json json_array json_array_length json_error_position json_extract
   json_group_array json_group_object json_insert json_object json_patch json_quote json_remove json_replace json_set
   json_type json_valid jsonb jsonb_array jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object
   jsonb_patch jsonb_remove jsonb_replace jsonb_set julianday lag last_insert_rowid last_value lead length like
   likelihood likely ln log log10 log2 lower ltrim max min mod nth_value ntile nullif octet_length percent_rank pi pow
   power printf quote radians random randomblob rank replace round row_number rtrim sign sin sinh soundex
   sqlite_compileoption_get sqlite_compileoption_used sqlite_source_id sqlite_version sqrt strftime string_agg substr
   substring subtype sum tan tanh time timediff total total_changes trim trunc typeof unhex unicode unixepoch unlikely
   upper zeroblob`.split(/\s+/),
);
const MODULES = new Set(["json_each", "json_tree"]);
/** Not every build lists them, and every build may have them. */
const ALWAYS_FORBIDDEN = ["load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"];

function forbiddenNames(sqlite: Sqlite.Database): ForbiddenNames {
  const namesOf = (sql: string): string[] =>
    (sqlite.prepare(sql).raw().all() as [string][]).map(([name]) => name.toLowerCase());
  const own = new Set(namesOf("SELECT name FROM sqlite_schema"));
  return {
    functions: new Set([
      ...ALWAYS_FORBIDDEN,
      ...namesOf("SELECT DISTINCT name FROM pragma_function_list").filter((name) => !FUNCTIONS.has(name)),
    ]),
    modules: new Set(
      namesOf("SELECT name FROM pragma_module_list").filter((name) => !MODULES.has(name) && !own.has(name)),
    ),
  };
}
