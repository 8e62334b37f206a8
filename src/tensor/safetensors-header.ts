/**
 * The header of one safetensors file: 8 bytes of length, then a JSON object of tensors, then their bytes.
 * Everything is checked before anything is allocated, except the header's own text, which is known by then
 * to lie inside the file. The rules are the safetensors library's: tensors cover the bytes without hole or overlap.
 */
import { UserError } from "../base/index.js";
import type { ByteFile } from "./byte-file.js";
import { isStoredDType, STORED_DTYPES, type StoredDType } from "./stored-dtype.js";
import { isJsonObject, JsonError, type JsonMember, type JsonObject, parseStrictJson } from "./strict-json.js";
import type { TensorEntry } from "./tensor-file.js";

export interface SafetensorsEntry extends TensorEntry {
  readonly dtype: StoredDType;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** The safetensors library's own limit. */
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;
/** More axes than any tensor has; it bounds the product of a shape. */
const MAX_RANK = 16;

/** Reads and checks the header of `file`. @throws UserError naming the file, the tensor, the byte and the defect */
export function readSafetensorsHeader(file: ByteFile): SafetensorsHeader {
  const text = readHeaderText(file);
  const fail: Fail = (position, found, expected, tensor) => {
    const byte = LENGTH_BYTES + Buffer.byteLength(text.slice(0, position));
    const owner = tensor === undefined ? "" : ` of tensor ${JSON.stringify(tensor)}`;
    return new UserError(
      `Cannot read safetensors file "${file.path}": header byte ${byte}${owner} has ${found}, expected ${expected}`,
    );
  };
  const header = parseHeader(text, fail);
  const dataStart = LENGTH_BYTES + Buffer.byteLength(text);
  const tensors = new Map<string, SafetensorsEntry>();
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, member] of header) {
    if (name === "__metadata__") metadata = parseMetadata(member, fail);
    else tensors.set(name, parseEntry(name, member, { dataStart, file, fail }));
  }
  expectCovered(tensors, dataStart, file);
  return { tensors, metadata };
}

type Fail = (position: number, found: string, expected: string, tensor?: string) => UserError;

function readHeaderText(file: ByteFile): string {
  const refuse = (found: string, expected: string): UserError =>
    new UserError(`Cannot read safetensors file "${file.path}": ${found}, expected ${expected}`);
  if (file.sizeBytes < LENGTH_BYTES) {
    throw refuse(`it has ${file.sizeBytes} bytes`, "at least 8, the header's length");
  }
  const lengthBytes = new Uint8Array(LENGTH_BYTES);
  file.readInto(lengthBytes, 0);
  const length = new DataView(lengthBytes.buffer).getBigUint64(0, true);
  const rest = file.sizeBytes - LENGTH_BYTES;
  if (length > BigInt(rest)) {
    throw refuse(
      `byte 0 gives a header of ${length} bytes`,
      `at most ${rest}, what follows in this file of ${file.sizeBytes} bytes. It is truncated or not a safetensors file`,
    );
  }
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw refuse(`byte 0 gives a header of ${length} bytes`, `at most ${MAX_HEADER_BYTES}`);
  }
  const bytes = new Uint8Array(Number(length));
  file.readInto(bytes, LENGTH_BYTES);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (thrown) {
    throw new UserError(
      `Cannot read safetensors file "${file.path}": the ${length} header bytes from byte 8 are not UTF-8, expected a JSON object`,
      { cause: thrown },
    );
  }
}

function parseHeader(text: string, fail: Fail): JsonObject {
  try {
    const header = parseStrictJson(text);
    if (isJsonObject(header)) return header;
  } catch (thrown) {
    if (thrown instanceof JsonError) throw fail(thrown.position, thrown.found, thrown.expected);
    throw thrown;
  }
  throw fail(0, "another JSON value", "an object of tensors");
}

function parseMetadata({ value, position }: JsonMember, fail: Fail): ReadonlyMap<string, string> {
  if (!isJsonObject(value)) throw fail(position, "__metadata__ that is no object", "an object of strings");
  const metadata = new Map<string, string>();
  for (const [key, member] of value) {
    if (typeof member.value !== "string") {
      throw fail(member.position, `metadata ${JSON.stringify(key)} that is no string`, "a string");
    }
    metadata.set(key, member.value);
  }
  return metadata;
}

function parseEntry(
  name: string,
  member: JsonMember,
  { dataStart, file, fail }: { dataStart: number; file: ByteFile; fail: Fail },
): SafetensorsEntry {
  const at = member.position;
  if (!isJsonObject(member.value))
    throw fail(at, "a value that is no object", "dtype, shape and data_offsets", name);
  const unknown = [...member.value].find(([key]) => !["dtype", "shape", "data_offsets"].includes(key));
  if (unknown !== undefined) {
    const key = JSON.stringify(unknown[0]);
    throw fail(unknown[1].position, `the key ${key}`, "dtype, shape and data_offsets only", name);
  }
  const dtype = member.value.get("dtype");
  if (dtype === undefined) throw fail(at, "no dtype", "a dtype", name);
  if (typeof dtype.value !== "string" || !isStoredDType(dtype.value)) {
    const known = Object.keys(STORED_DTYPES).join(", ");
    throw fail(dtype.position, `dtype ${shown(dtype)}`, `one of ${known}`, name);
  }
  const shape = naturals(member.value.get("shape"));
  if (shape === undefined || shape.length > MAX_RANK) {
    const place = member.value.get("shape");
    const expected = `a list of at most ${MAX_RANK} natural numbers`;
    throw fail(place?.position ?? at, `shape ${shown(place)}`, expected, name);
  }
  const offsets = naturals(member.value.get("data_offsets"));
  const place = member.value.get("data_offsets");
  if (offsets === undefined || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    throw fail(place?.position ?? at, `data_offsets ${shown(place)}`, "[begin, end] with begin <= end", name);
  }
  const [begin, end] = [offsets[0]!, offsets[1]!];
  const available = file.sizeBytes - dataStart;
  if (end > available) {
    const expected = `an end within the ${available} bytes of data in this file of ${file.sizeBytes} bytes`;
    throw fail(place!.position, `data_offsets [${begin}, ${end}]`, expected, name);
  }
  // A bigint product cannot overflow; it is compared before it is ever used as a size.
  const wanted = shape.reduce((product, size) => product * BigInt(size), BigInt(STORED_DTYPES[dtype.value]));
  if (wanted !== BigInt(end - begin)) {
    const expected = `${wanted}, what ${dtype.value} of shape [${shape.join(", ")}] takes`;
    throw fail(place!.position, `data_offsets of ${end - begin} bytes`, expected, name);
  }
  return { dtype: dtype.value, shape, offset: dataStart + begin, bytes: end - begin, file: file.path };
}

function naturals(member: JsonMember | undefined): number[] | undefined {
  if (!Array.isArray(member?.value)) return undefined;
  const numbers = member.value.filter(
    (item): item is number => typeof item === "number" && Number.isSafeInteger(item) && item >= 0,
  );
  return numbers.length === member.value.length ? numbers : undefined;
}

/** The value as it would stand in JSON, cut to a length that fits in a message. */
function shown(member: JsonMember | undefined): string {
  if (member === undefined) return "missing";
  if (isJsonObject(member.value)) return "an object";
  const text = JSON.stringify(member.value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

function expectCovered(
  tensors: ReadonlyMap<string, SafetensorsEntry>,
  dataStart: number,
  file: ByteFile,
): void {
  const inOrder = [...tensors].sort(
    ([, left], [, right]) => left.offset - right.offset || left.bytes - right.bytes,
  );
  let end = dataStart;
  let before = "the header";
  for (const [name, { offset, bytes }] of inOrder) {
    if (offset !== end) {
      throw new UserError(
        `Cannot read safetensors file "${file.path}": tensor ${JSON.stringify(name)} begins at byte ${offset}, expected byte ${end}, where ${before} ends (${offset < end ? "they overlap" : "a hole lies between"})`,
      );
    }
    end = offset + bytes;
    before = `tensor ${JSON.stringify(name)}`;
  }
  if (end !== file.sizeBytes) {
    throw new UserError(
      `Cannot read safetensors file "${file.path}": ${before} ends at byte ${end}, expected byte ${file.sizeBytes}, the end of the file`,
    );
  }
}
