/**
 * Where a data set came from, written beside it as `dataset.json`: the source's hash, which of its rows went where, and
 * the content hash of each file. Enough to say which rows a model was trained on, and to notice that a file has changed.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/index.js";
import { parseRow } from "./examples.js";
import { fileError } from "./file-error.js";
import { hashFile, hashRecords, type RecordSet } from "./records/read-records.js";
import type { DataRecord } from "./records/record.js";

const Part = z.strictObject({
  file: z.string(),
  rows: z.int().nonnegative(),
  fileHash: z.string(),
  contentHash: z.string(),
  /** Lines of the source, as runs: `[[1, 4], [7, 7]]` are lines 1 to 4 and 7. */
  sourceLines: z.array(z.tuple([z.int().positive(), z.int().positive()])),
});

/** `dataset.json`. */
export const DatasetManifest = z.strictObject({
  format: z.literal("hone-dataset-1"),
  kind: z.string(),
  source: z.strictObject({ path: z.string(), fileHash: z.string(), contentHash: z.string(), rows: z.int() }),
  /** What was done to the source, with its settings. */
  made: z.strictObject({ by: z.string(), settings: z.record(z.string(), z.unknown()) }),
  parts: z.array(Part),
});
export type DatasetManifest = z.infer<typeof DatasetManifest>;

export const MANIFEST_FILE = "dataset.json";

/** Writes each part as JSON Lines (rows as the source has them) and the manifest; `folder` exists. */
export function writeParts(
  folder: string,
  source: RecordSet,
  parts: Readonly<Record<string, readonly DataRecord[]>>,
  made: DatasetManifest["made"],
): DatasetManifest {
  const manifest: DatasetManifest = {
    format: "hone-dataset-1",
    kind: source.kind,
    source: {
      path: source.path,
      fileHash: source.fileHash,
      contentHash: source.contentHash,
      rows: source.records.length,
    },
    made,
    parts: Object.entries(parts).map(([name, records]) => {
      const text = records.map(({ row }) => `${JSON.stringify(row)}\n`).join("");
      writeFileSync(join(folder, `${name}.jsonl`), text);
      return {
        file: `${name}.jsonl`,
        rows: records.length,
        fileHash: createHash("sha256").update(text).digest("hex"),
        contentHash: hashRecords(records),
        sourceLines: runsOf(records.map(({ line }) => line)),
      };
    }),
  };
  writeFileSync(join(folder, MANIFEST_FILE), `${JSON.stringify(manifest, null, 1)}\n`);
  return manifest;
}

/** What the manifest beside a file says of it. */
export interface Lineage {
  readonly manifest: DatasetManifest;
  readonly part: DatasetManifest["parts"][number];
  /** Whether the file is as it was written. */
  readonly isUnchanged: boolean;
}

/**
 * The lineage of a file that `writeParts` wrote; undefined where no manifest beside it names the file.
 *
 * @throws UserError when the manifest is damaged
 */
export async function findLineage(path: string): Promise<Lineage | undefined> {
  const manifestPath = join(dirname(path), MANIFEST_FILE);
  if (!existsSync(manifestPath)) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(manifestPath, "utf8"));
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw fileError(manifestPath, thrown, "a manifest") ?? thrown;
    throw new UserError(
      `Cannot read ${manifestPath}: it is not JSON, expected what hone data split wrote. Split the source again, or remove the file`,
    );
  }
  const manifest = parseRow(DatasetManifest, parsed, manifestPath);
  const part = manifest.parts.find(({ file }) => file === basename(path));
  if (part === undefined) return undefined;
  return { manifest, part, isUnchanged: (await hashFile(path)) === part.fileHash };
}

/** Ascending numbers as runs of consecutive ones. */
function runsOf(lines: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const line of lines) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === line - 1) last[1] = line;
    else runs.push([line, line]);
  }
  return runs;
}
