/**
 * A checkpoint as a directory that appears whole or not at all: written aside, every file hashed and forced to the
 * device, then renamed. Knows nothing about what the files hold or which of them a run still needs.
 */
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/index.js";
import { type Disk, readIfPresent, removeTree } from "./disk.js";

/** Lists the other files of a checkpoint with their sizes and hashes. */
export const MANIFEST_NAME = "checkpoint.json";
const CHUNK_BYTES = 4 << 20;

const Manifest = z.object({
  version: z.literal(1),
  step: z.int().nonnegative(),
  files: z.record(z.string(), z.object({ sizeBytes: z.int().nonnegative(), sha256: z.string() })),
});
type Manifest = z.infer<typeof Manifest>;

export interface CheckpointContent {
  readonly sizeBytes: number;
  readonly contentHash: string;
}

/** `step-000100`; six digits keep the alphabetical order right up to a million steps. */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(6, "0")}`;
}

/**
 * Makes `directory` from what `write` puts into the empty directory it is given. A kill at any instant leaves
 * either nothing under that name or the whole; what it leaves aside begins with a dot.
 */
export async function writeCheckpoint(
  disk: Disk,
  { directory, step }: { readonly directory: string; readonly step: number },
  write: (aside: string) => Promise<void>,
): Promise<CheckpointContent> {
  const parent = dirname(directory);
  const aside = join(parent, `.${basename(directory)}.new`);
  for (const leftover of [aside, directory]) if (existsSync(leftover)) removeTree(disk, leftover, true);
  disk.makeDirectory(aside);
  await write(aside);

  const { files, directories } = entriesOf(aside);
  const manifest: Manifest = { version: 1, step, files: {} };
  for (const file of files) {
    disk.sync(join(aside, file));
    manifest.files[file] = { sizeBytes: statSync(join(aside, file)).size, sha256: sha256(join(aside, file)) };
  }
  disk.writeFile(join(aside, MANIFEST_NAME), `${JSON.stringify(manifest, null, 1)}\n`);
  disk.sync(join(aside, MANIFEST_NAME));
  for (const inner of directories) disk.sync(join(aside, inner));
  disk.sync(aside);
  disk.rename(aside, directory);
  disk.sync(parent);
  return contentOf(manifest);
}

/**
 * Reads every file of a checkpoint and compares it with the manifest.
 *
 * @throws UserError naming the first damaged file.
 */
export function verifyCheckpoint(directory: string, contentHash?: string): void {
  const damage = damageOf(directory, contentHash);
  if (damage === undefined) return;
  throw new UserError(
    `Cannot load checkpoint ${directory}: ${damage}. Remove the directory to go on from the checkpoint before it`,
  );
}

function damageOf(directory: string, contentHash: string | undefined): string | undefined {
  const text = readIfPresent(join(directory, MANIFEST_NAME));
  if (text === undefined) return `${MANIFEST_NAME} is missing, expected the list of its files`;
  const manifest = parsedManifest(text);
  if (manifest === undefined) {
    return `${MANIFEST_NAME} is damaged, expected JSON with version 1, step and files`;
  }
  for (const [file, { sizeBytes, sha256: expected }] of Object.entries(manifest.files)) {
    const path = join(directory, file);
    if (!existsSync(path)) return `${file} is missing, expected ${sizeBytes} bytes`;
    const size = statSync(path).size;
    if (size !== sizeBytes) return `${file} has ${size} bytes, expected ${sizeBytes}`;
    const found = sha256(path);
    if (found !== expected) {
      return `${file} is damaged: its SHA-256 is ${found.slice(0, 12)}…, expected ${expected.slice(0, 12)}…`;
    }
  }
  const found = contentOf(manifest).contentHash;
  if (contentHash === undefined || found === contentHash) return undefined;
  return `${MANIFEST_NAME} lists content ${found.slice(0, 12)}…, expected ${contentHash.slice(0, 12)}… as the run store has it`;
}

/** SHA-256 of a file, read in pieces. */
export function sha256(path: string): string {
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  const handle = openSync(path, "r");
  try {
    for (let length = 0; (length = readSync(handle, chunk, 0, CHUNK_BYTES, null)) > 0; ) {
      hash.update(chunk.subarray(0, length));
    }
  } finally {
    closeSync(handle);
  }
  return hash.digest("hex");
}

function contentOf(manifest: Manifest): CheckpointContent {
  const files = Object.entries(manifest.files).sort(([a], [b]) => (a < b ? -1 : 1));
  const hash = createHash("sha256");
  for (const [file, { sha256 }] of files) hash.update(`${sha256} ${file}\n`);
  return {
    sizeBytes: files.reduce((sum, [, { sizeBytes }]) => sum + sizeBytes, 0),
    contentHash: hash.digest("hex"),
  };
}

/** Paths relative to `root`, with forward slashes, files sorted; directories innermost first. */
function entriesOf(root: string): { readonly files: string[]; readonly directories: string[] } {
  const files: string[] = [];
  const directories: string[] = [];
  const walk = (inner: string): void => {
    for (const entry of readdirSync(join(root, inner), { withFileTypes: true })) {
      const path = inner === "" ? entry.name : `${inner}/${entry.name}`;
      if (!entry.isDirectory()) files.push(path);
      else {
        walk(path);
        directories.push(path);
      }
    }
  };
  walk("");
  return { files: files.sort(), directories };
}

function parsedManifest(text: string): Manifest | undefined {
  try {
    return Manifest.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
