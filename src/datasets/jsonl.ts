/**
 * Streaming reader of JSON Lines. Keeps line numbers; takes a byte order mark, CRLF, blank lines and lines of any
 * length up to what a string can hold. Knows nothing about what the rows mean.
 */
import { createReadStream } from "node:fs";
import { UserError } from "../base/index.js";
import { fileError } from "./file-error.js";
import { findJsonFault } from "./json-fault.js";

/** One JSON value and the line it stands on, counted from 1. */
export interface JsonlRow {
  readonly line: number;
  readonly value: unknown;
}

export interface JsonlOptions {
  /** Bytes read at a time. @default 1048576 */
  readonly chunkBytes?: number;
}

const MAX_LINE_BYTES = 2 ** 28;
const EXCERPT_UNITS = 60;

/**
 * The rows of a JSON Lines file, in order.
 *
 * @throws UserError with file, line, column and an excerpt where a line is not JSON or not UTF-8.
 */
export async function* readJsonl(path: string, options: JsonlOptions = {}): AsyncGenerator<JsonlRow> {
  const { chunkBytes = 2 ** 20 } = options;
  let line = 0;
  let decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for await (const bytes of lineBytes(path, chunkBytes)) {
    line++;
    if (line === 1) refuseOtherFormats(path, bytes);
    const content = line === 1 && bytes.subarray(0, 3).equals(BOM) ? bytes.subarray(3) : bytes;
    let text: string;
    try {
      text = decoder.decode(content);
    } catch {
      decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
      throw new UserError(
        `Cannot read ${path}:${line}: byte ${firstInvalidByte(content) + 1} of the line is not UTF-8, expected UTF-8 text. Convert the file (iconv -f latin1 -t utf-8)`,
      );
    }
    if (text.trim() === "") continue;
    yield { line, value: parseLine(text, path, line) };
  }
}

function parseLine(text: string, path: string, line: number): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const fault = findJsonFault(text);
    if (fault === undefined) throw new Error(`internal: no fault found in ${path}:${line}`);
    throw new UserError(
      `Cannot read ${path}:${line}:${fault.offset + 1}: found ${fault.found}, expected ${fault.expected} in ${excerpt(text, fault.offset)}. ${remedy(text, fault.offset, line)}`,
    );
  }
}

function remedy(text: string, offset: number, line: number): string {
  const trimmed = text.trim();
  if (line === 1 && (trimmed === "[" || trimmed === "{" || /^\[\s*\{/.test(trimmed))) {
    return "JSON Lines has one whole object per line; convert a JSON array with jq -c '.[]'";
  }
  if (/^(NaN|Infinity)/.test(text.slice(offset)))
    return "JSON has no NaN or Infinity; write null or leave the field out";
  if (/^(None|True|False)/.test(text.slice(offset)) || text[offset] === "'") {
    return "This looks like a Python literal; write the file with json.dumps, one object per line";
  }
  return "Every line must be one whole JSON object; fix or delete this line";
}

/** The text around `offset`, at most 60 units of it, with the place marked. */
function excerpt(text: string, offset: number): string {
  const start = Math.max(0, offset - EXCERPT_UNITS / 2);
  const end = Math.min(text.length, start + EXCERPT_UNITS);
  const before = (start > 0 ? "…" : "") + text.slice(start, offset);
  const after = text.slice(offset, end) + (end < text.length ? "…" : "");
  return `${printable(before)}⟨here⟩${printable(after)}`;
}

function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this replaces
  return text.replace(/[\u0000-\u001f\u007f]/g, "·");
}

const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

function refuseOtherFormats(path: string, bytes: Buffer): void {
  if (bytes.length < 2) return;
  const first = bytes.readUInt16BE(0);
  if (first === 0x1f8b) {
    throw new UserError(`Cannot read ${path}: it is gzip data, expected JSON Lines. Unpack it with gunzip`);
  }
  if (first === 0xfffe || first === 0xfeff) {
    throw new UserError(
      `Cannot read ${path}: it is UTF-16 text, expected UTF-8. Convert it with iconv -f utf-16 -t utf-8`,
    );
  }
  if (bytes.subarray(0, 4).equals(Buffer.from("PAR1"))) {
    throw new UserError(
      `Cannot read ${path}: it is a Parquet file, expected JSON Lines. Convert it with datasets' to_json`,
    );
  }
}

/** The bytes of each line without its end (LF or CRLF). A last line without LF counts; an empty rest does not. */
async function* lineBytes(path: string, chunkBytes: number): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  let pending = 0;
  let line = 1;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes })) {
      // A stream without an encoding yields Buffers; its type says any.
      const bytes = chunk as Buffer;
      let start = 0;
      for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
        parts.push(bytes.subarray(start, end));
        yield withoutCarriageReturn(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
        parts = [];
        pending = 0;
        line++;
        start = end + 1;
      }
      if (start === bytes.length) continue;
      parts.push(bytes.subarray(start));
      pending += bytes.length - start;
      if (pending > MAX_LINE_BYTES) {
        throw new UserError(
          `Cannot read ${path}:${line}: the line is longer than ${MAX_LINE_BYTES} bytes, expected one row per line. Split the row`,
        );
      }
    }
  } catch (thrown) {
    throw fileError(path, thrown, "a JSON Lines file") ?? thrown;
  }
  if (parts.length > 0) yield withoutCarriageReturn(Buffer.concat(parts));
}

function withoutCarriageReturn(bytes: Buffer): Buffer {
  return bytes.at(-1) === 13 ? bytes.subarray(0, -1) : bytes;
}

/** Offset of the first byte of the first character that is not UTF-8. */
function firstInvalidByte(bytes: Buffer): number {
  // `stream: true` forgives a character that the cut has split, so "valid" is monotonic and can be bisected.
  const isValid = (end: number, stream: boolean): boolean => {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, end), { stream });
      return true;
    } catch {
      return false;
    }
  };
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (isValid(middle, true)) low = middle;
    else high = middle - 1;
  }
  while (!isValid(low, false)) low--;
  return low;
}
