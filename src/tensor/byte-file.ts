/**
 * Positioned reads from a regular file, and files written aside and renamed.
 * Plain Node has no memory map, so everything here streams: a read goes straight into memory the caller owns
 * (for float32 weights, the final off-heap buffer), and nothing is ever as large as the file.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { UserError } from "../base/index.js";

/** Node refuses reads and writes of 2 GiB and more. */
const MAX_TRANSFER_BYTES = 2 ** 30;

export interface ByteFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Fills `target` from `position`; throws when the file ends before. */
  readInto(target: Uint8Array, position: number): void;
  close(): void;
}

/** Opens a regular file for reading. `what` names its kind in errors: "safetensors file". */
export function openByteFile(path: string, what: string): ByteFile {
  const fd = openForReading(path, what);
  const stat = fstatSync(fd);
  if (!stat.isFile()) {
    closeSync(fd);
    throw new UserError(`Cannot open ${what} "${path}": it is not a regular file, expected a ${what}`);
  }
  let isOpen = true;
  return {
    path,
    sizeBytes: stat.size,
    readInto(target, position) {
      if (!isOpen) throw new Error(`internal: read from "${path}" after close`);
      let done = 0;
      while (done < target.byteLength) {
        const wanted = Math.min(target.byteLength - done, MAX_TRANSFER_BYTES);
        const got = readSync(fd, target, done, wanted, position + done);
        if (got === 0) {
          throw new UserError(
            `Cannot read ${what} "${path}": it ends at byte ${position + done}, expected ${stat.size} bytes. It was cut while being read`,
          );
        }
        done += got;
      }
    },
    close() {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

/** Where a file written aside takes its bytes. */
export interface ByteSink {
  write(bytes: Uint8Array): void;
}

/**
 * Writes a file so that a kill at any instant leaves the old content or the new one, never a mixture:
 * aside in the same folder, fsynced, renamed over `path`, and the folder fsynced.
 */
export function writeFileAside(path: string, fill: (sink: ByteSink) => void): void {
  const aside = `${path}.partial`;
  const fd = openSync(aside, "w");
  try {
    fill({
      write(bytes) {
        let done = 0;
        while (done < bytes.byteLength) {
          done += writeSync(fd, bytes, done, Math.min(bytes.byteLength - done, MAX_TRANSFER_BYTES));
        }
      },
    });
    fsyncSync(fd);
  } catch (thrown) {
    closeSync(fd);
    unlinkSync(aside);
    throw thrown;
  }
  closeSync(fd);
  renameSync(aside, path);
  const folder = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function openForReading(path: string, what: string): number {
  try {
    // O_NONBLOCK: opening a named pipe must not hang; it has no effect on regular files.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    const found = code === "ENOENT" ? "no such file" : `the system says ${String(code)}`;
    throw new UserError(`Cannot open ${what} "${path}": ${found}, expected a readable file`, {
      cause: thrown,
    });
  }
}
