/**
 * The few file operations that checkpoints rest on, behind one interface so that a test can stop the process before
 * any of them. Knows nothing about what the files mean.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

export interface Disk {
  makeDirectory(path: string): void;
  writeFile(path: string, content: string | Uint8Array): void;
  /** Forces a file, or a directory's list of names, to the device. */
  sync(path: string): void;
  rename(from: string, to: string): void;
  /** Removes one file or one empty directory. Nothing there is no error. */
  remove(path: string): void;
}

/** The machine's own file system. */
export const nodeDisk: Disk = {
  makeDirectory: (path) => mkdirSync(path, { recursive: true }),
  writeFile: (path, content) => writeFileSync(path, content),
  sync: syncPath,
  rename: renameSync,
  remove: (path) => rmSync(path, { force: true, recursive: true }),
};

/** Removes a tree, entry by entry, so that every one of its steps is a `Disk` operation. */
export function removeTree(disk: Disk, path: string, isDirectory: boolean): void {
  if (isDirectory) {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      removeTree(disk, join(path, entry.name), entry.isDirectory());
    }
  }
  disk.remove(path);
}

/** Writes a file so that at any instant its name holds either the old content or the new. */
export function replaceFile(disk: Disk, directory: string, name: string, content: string | Uint8Array): void {
  const aside = join(directory, `.${name}.new`);
  disk.writeFile(aside, content);
  disk.sync(aside);
  disk.rename(aside, join(directory, name));
  disk.sync(directory);
}

/** The text of a file, or undefined where there is none. */
export function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

function syncPath(path: string): void {
  let handle: number;
  try {
    handle = openSync(path, "r");
  } catch (error) {
    // Windows cannot open a directory; its renames are durable without it.
    if (process.platform === "win32") return;
    throw error;
  }
  try {
    fsyncSync(handle);
  } catch (error) {
    if (process.platform !== "win32") throw error;
  } finally {
    closeSync(handle);
  }
}
