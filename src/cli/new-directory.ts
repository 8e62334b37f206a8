/** A directory a command fills: whole or not at all, and never over somebody's files. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../base/index.js";

/**
 * Runs `fill` on an empty directory that becomes `directory` when it is done.
 *
 * @throws UserError when `directory` already has files, or is one.
 */
export async function fillNewDirectory(
  directory: string,
  what: string,
  fill: (aside: string) => Promise<void> | void,
): Promise<void> {
  const target = resolve(directory);
  const found = statSync(target, { throwIfNoEntry: false });
  if (found !== undefined && !found.isDirectory()) {
    throw new UserError(
      `Cannot write ${what} to ${directory}: it is a file, expected a new or empty directory`,
    );
  }
  if (found !== undefined && readdirSync(target).length > 0) {
    throw new UserError(
      `Cannot write ${what} to ${directory}: it already has files, expected a new or empty directory`,
    );
  }
  const aside = join(dirname(target), `.${basename(target)}.${process.pid}.new`);
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(aside, { recursive: true });
  try {
    await fill(aside);
    if (existsSync(target)) rmdirSync(target);
    renameSync(aside, target);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    throw error;
  }
}
