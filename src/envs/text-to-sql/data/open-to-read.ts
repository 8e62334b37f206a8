/** Databases that are somebody's data: opened so that nothing can be written to them, and nothing made beside them. */
import { statSync } from "node:fs";
import Sqlite from "libsql";
import { messageOf, UserError } from "../../../base/index.js";
import { readOnlyAddress } from "../sql/index.js";

/**
 * The SQLite file of `database`, read-only. Whoever opens it closes it.
 *
 * @throws UserError when it is absent or not a SQLite database
 */
export function openToRead(path: string, database: string): Sqlite.Database {
  const refuse = (problem: string, cause?: unknown): never => {
    throw new UserError(`Cannot read database "${database}": ${path} ${problem}, expected a SQLite file`, {
      cause,
    });
  };
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) refuse("does not exist");
  if (!stat!.isFile()) refuse("is not a file");
  let file: Sqlite.Database | undefined;
  try {
    file = new Sqlite(readOnlyAddress(path));
    file.prepare("SELECT count(*) FROM sqlite_schema").get(); // reads the file for the first time
    return file;
  } catch (thrown) {
    file?.close();
    return refuse(`is not a usable database (${messageOf(thrown)})`, thrown);
  }
}
