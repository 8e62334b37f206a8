/**
 * Rows of a data file, whatever its format: JSON Lines, Parquet, or a JSON array. The format is told from the file's
 * first bytes, not from its name. Knows nothing about what the rows mean.
 */
import { open, readFile, stat } from "node:fs/promises";
import { UserError } from "../base/index.js";
import { fileError } from "./file-error.js";
import { findJsonFault } from "./json-fault.js";
import { readJsonl } from "./jsonl.js";
import { readParquet } from "./parquet.js";

/** One row and its place: the line of a JSON Lines file, else the number of the row; both from 1. */
export interface DataRow {
  readonly line: number;
  readonly value: unknown;
}

const EXPECTED = "a file of JSON Lines, Parquet or a JSON array";
/** A JSON array is parsed whole; what is larger belongs into JSON Lines. */
const MAX_ARRAY_BYTES = 2 ** 28;

/**
 * The rows of a file, in order.
 *
 * @throws UserError with file and line for what is no row.
 */
export async function* readRows(path: string): AsyncGenerator<DataRow> {
  switch (await formatOf(path)) {
    case "parquet":
      yield* readParquet(path);
      return;
    case "array":
      yield* await readArray(path);
      return;
    case "jsonl":
      yield* readJsonl(path);
  }
}

/** `.parquet` by name too, so that a damaged Parquet file is called one; a JSON array begins with `[`. */
async function formatOf(path: string): Promise<"parquet" | "array" | "jsonl"> {
  const bytes = Buffer.alloc(4096);
  let length: number;
  try {
    const file = await open(path, "r");
    try {
      ({ bytesRead: length } = await file.read(bytes));
    } finally {
      await file.close();
    }
  } catch (thrown) {
    throw fileError(path, thrown, EXPECTED) ?? thrown;
  }
  const head = bytes.subarray(0, length).toString("latin1");
  if (head.startsWith("PAR1") || path.endsWith(".parquet")) return "parquet";
  // A line that is a whole list is JSON Lines' business (its rows are refused there); `[` and then a row is an array.
  return /^(ï»¿)?\s*\[\s*(\{|\]\s*$|$)/.test(head) && !path.endsWith(".jsonl") ? "array" : "jsonl";
}

async function readArray(path: string): Promise<DataRow[]> {
  const { size } = await stat(path);
  if (size > MAX_ARRAY_BYTES) {
    throw new UserError(
      `Cannot read ${path}: it is a JSON array of ${size} bytes, expected JSON Lines beyond ${MAX_ARRAY_BYTES}. Convert it with jq -c '.[]'`,
    );
  }
  const text = (await readFile(path, "utf8")).replace(/^\uFEFF/, "");
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    const fault = findJsonFault(text);
    if (fault === undefined) throw new Error(`internal: no fault found in ${path}`);
    const before = text.slice(0, fault.offset).split("\n");
    throw new UserError(
      `Cannot read ${path}:${before.length}:${before.at(-1)!.length + 1}: found ${fault.found}, expected ${fault.expected}. The file is read as one JSON array because it begins with [`,
    );
  }
  if (!Array.isArray(parsed)) throw new Error(`internal: ${path} begins with [ but is no array`);
  return parsed.map((value, i) => ({ line: i + 1, value }));
}
