/** What the file system refuses, in our words. */
import { UserError } from "../base/index.js";

/** The `UserError` for a file that cannot be opened, or undefined where `thrown` says something else. */
export function fileError(path: string, thrown: unknown, expected: string): UserError | undefined {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  if (code === "ENOENT") return new UserError(`Cannot read ${path}: no such file, expected ${expected}`);
  if (code === "EISDIR") return new UserError(`Cannot read ${path}: it is a directory, expected ${expected}`);
  if (code === "EACCES") return new UserError(`Cannot read ${path}: permission denied`);
  return undefined;
}
