/**
 * Rows of a Parquet file as plain JSON values, one row group in memory at a time. Snappy, gzip, Brotli and zstd pages.
 * Knows nothing about what the rows mean.
 */
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import type { AsyncBuffer, Compressors, FileMetaData } from "hyparquet";
import { messageOf, UserError } from "../base/index.js";
import { fileError } from "./file-error.js";
import type { DataRow } from "./rows.js";

/** Rows read at a time, where a row group has more. */
const ROWS_AT_ONCE = 4096;

/**
 * The rows of a Parquet file, in order; `line` is the row's number from 1. Columns without a value are left out, as
 * a JSON Lines file would leave them out.
 *
 * @throws UserError for a file that is damaged or uses what is not read.
 */
export async function* readParquet(path: string): AsyncGenerator<DataRow> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } = await import("hyparquet");
  let file: AsyncBuffer;
  let metadata: FileMetaData;
  try {
    file = await asyncBufferFromFile(path);
    metadata = await parquetMetadataAsync(file);
  } catch (thrown) {
    throw fileError(path, thrown, "a Parquet file") ?? damaged(path, thrown);
  }
  const compressors = await loadCompressors(path, metadata);
  const count = Number(metadata.num_rows);
  let group = 0;
  for (const { num_rows } of metadata.row_groups) {
    const groupEnd = group + Number(num_rows);
    for (let rowStart = group; rowStart < groupEnd; rowStart += ROWS_AT_ONCE) {
      const rowEnd = Math.min(groupEnd, rowStart + ROWS_AT_ONCE);
      let rows: Record<string, unknown>[];
      try {
        rows = await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors });
      } catch (thrown) {
        throw damaged(path, thrown, `rows ${rowStart + 1} to ${rowEnd}`);
      }
      if (rows.length !== rowEnd - rowStart) {
        throw damaged(path, new Error(`it has ${rows.length} of rows ${rowStart + 1} to ${rowEnd}`));
      }
      for (const [i, row] of rows.entries()) {
        const line = rowStart + i + 1;
        yield { line, value: toJson(row, `${path}:${line}`) };
      }
    }
    group = groupEnd;
  }
  if (group !== count) throw damaged(path, new Error(`its row groups hold ${group} of ${count} rows`));
}

function damaged(path: string, thrown: unknown, where?: string): UserError {
  const place = where === undefined ? "" : ` at ${where}`;
  return new UserError(
    `Cannot read ${path}${place}: ${messageOf(thrown)}, expected a whole Parquet file. Fetch or write it again`,
    { cause: thrown },
  );
}

async function loadCompressors(path: string, metadata: FileMetaData): Promise<Compressors> {
  const codecs = new Set(
    metadata.row_groups.flatMap(({ columns }) => columns.map(({ meta_data }) => meta_data?.codec)),
  );
  for (const codec of codecs) {
    if (codec === undefined || READABLE.includes(codec)) continue;
    throw new UserError(
      `Cannot read ${path}: its pages are compressed with ${codec}, expected one of ${READABLE.join(", ")}. Write it with compression="snappy"`,
    );
  }
  const zstd = codecs.has("ZSTD") ? (await import("fzstd")).decompress : undefined;
  return {
    GZIP: (bytes) => gunzipSync(bytes),
    BROTLI: (bytes) => brotliDecompressSync(bytes),
    ...(zstd === undefined ? {} : { ZSTD: (bytes: Uint8Array) => zstd(bytes) }),
  };
}

const READABLE: readonly string[] = ["UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI", "ZSTD"];

/** Whole numbers of 64 bits become numbers, dates ISO text, typed arrays lists; nulls in a record are left out. */
function toJson(value: unknown, at: string): unknown {
  if (typeof value === "bigint") {
    const number = Number(value);
    if (Number.isSafeInteger(number)) return number;
    throw new UserError(
      `Cannot read ${at}: ${value} does not fit a number exactly, expected at most 2^53. Store it as text`,
    );
  }
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) {
    throw new UserError(`Cannot read ${at}: a column holds bytes, expected text, numbers, lists and records`);
  }
  if (Array.isArray(value)) return value.map((item) => toJson(item, at));
  if (ArrayBuffer.isView(value)) return Array.from(value as Float64Array, (item) => toJson(item, at));
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined && item !== null)
      .map(([key, item]) => [key, toJson(item, at)]),
  );
}
