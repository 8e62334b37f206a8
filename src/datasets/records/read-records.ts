/** Files of records: every row is read, mapped and parsed, all of one kind and form. Keeps where each row came from. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { UserError } from "../../base/index.js";
import { type ColumnMapping, mapColumns } from "../columns.js";
import { requireObject } from "../examples.js";
import { readRows } from "../rows.js";
import { canonical } from "./implicit-prompt.js";
import { type ParseRecordOptions, parseRecord } from "./parse-record.js";
import { type DataRecord, promptText, type RecordKind } from "./record.js";

export interface ReadRecordsOptions extends Omit<ParseRecordOptions, "asChat" | "system"> {
  readonly mapping?: ColumnMapping;
}

/** The records of one file. */
export interface RecordSet {
  readonly path: string;
  readonly kind: RecordKind;
  readonly records: readonly DataRecord[];
  /** SHA-256 of the file's bytes. */
  readonly fileHash: string;
  /** SHA-256 of what the records say, in order: the same for JSON Lines and Parquet, CRLF and LF. */
  readonly contentHash: string;
}

/**
 * The records of a file, in order.
 *
 * @throws UserError with file and line for a row that is no record or is of another kind than the first
 */
export async function* readRecords(
  path: string,
  options: ReadRecordsOptions = {},
): AsyncGenerator<DataRecord> {
  const { mapping = {}, ...parse } = options;
  const { asChat, system, ...names } = mapping;
  const parseOptions: ParseRecordOptions = {
    ...parse,
    ...(asChat === undefined ? {} : { asChat }),
    ...(system === undefined ? {} : { system }),
  };
  let first: DataRecord | undefined;
  for await (const { line, value } of readRows(path)) {
    const at = `${path}:${line}`;
    const original = requireObject(value, at);
    const row = mapColumns(original, names, at);
    const record = parseRecord(row, { line, at, original }, parseOptions);
    first ??= record;
    if (record.kind !== first.kind || formOf(record) !== formOf(first)) {
      throw new UserError(
        `Cannot read ${at}: the row is ${describe(record)}, expected ${describe(first)} as in line ${first.line}. Put rows of different kinds into different files`,
      );
    }
    yield record;
  }
}

/** The whole file in memory, with its hashes. */
export async function loadRecords(path: string, options: ReadRecordsOptions = {}): Promise<RecordSet> {
  const records: DataRecord[] = [];
  for await (const record of readRecords(path, options)) records.push(record);
  const [first] = records;
  if (first === undefined) {
    throw new UserError(`Cannot read ${path}: it has no rows, expected at least one`);
  }
  return {
    path,
    kind: first.kind,
    records,
    fileHash: await hashFile(path),
    contentHash: hashRecords(records),
  };
}

/** SHA-256 of what `records` say, in order. */
export function hashRecords(records: readonly DataRecord[]): string {
  const hash = createHash("sha256");
  for (const record of records) hash.update(`${recordKey(record)}\n`);
  return hash.digest("hex");
}

/** Equal for records that say the same: words, label, score and margin; notes, line and spelling of JSON do not count. */
export function recordKey(record: DataRecord): string {
  return createHash("sha256")
    .update(canonical(contentOf(record)))
    .digest("base64url");
}

/** Equal for records with the same prompt, but for case and white space. Of a plain text, the text is the prompt. */
export function promptKey(record: DataRecord): string {
  const text =
    record.kind === "demonstration" && record.example.shape === "text"
      ? record.example.text
      : promptText(record);
  const plain = text.normalize("NFKC").toLowerCase().replace(/\s+/g, " ").trim();
  return createHash("sha256").update(plain).digest("base64url").slice(0, 22);
}

function contentOf(record: DataRecord): unknown {
  switch (record.kind) {
    case "preference":
      return [record.kind, record.prompt, record.chosen, record.rejected, record.margin ?? null];
    case "unpaired":
      return [record.kind, record.prompt, record.completion, record.label];
    case "scored":
      return [record.kind, record.prompt, record.completion, record.score];
    case "prompt":
      return [record.kind, record.prompt];
    case "demonstration": {
      const { extra: _, line: __, ...example } = record.example;
      return [record.kind, example];
    }
  }
}

function formOf(record: DataRecord): string {
  if (record.kind !== "demonstration") return typeof record.prompt === "string" ? "text" : "messages";
  const { example } = record;
  return example.shape === "prompt_completion" ? `${example.shape} of ${example.sides.kind}` : example.shape;
}

const describe = (record: DataRecord): string => `${record.kind} (${formOf(record)})`;

/** SHA-256 of a file's bytes. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer); // no encoding: Buffers
  return hash.digest("hex");
}
