/**
 * The header of a GGUF file, version 2 or 3: metadata, then tensor descriptions, then aligned tensor bytes.
 * Counts and lengths are never trusted: each is compared with the bytes left in the file before anything is
 * allocated for it, so the memory taken is a small multiple of what was really read.
 */
import { UserError } from "../base/index.js";
import type { ByteFile } from "./byte-file.js";
import { GgufCursor } from "./gguf-cursor.js";
import {
  GGUF_ARRAY,
  GGUF_SCALARS,
  GGUF_STRING,
  GGUF_TENSOR_TYPES,
  type GgufScalarType,
  type GgufTensorTypeName,
  type GgufValue,
  ggufScalarOf,
  ggufTensorTypeOf,
} from "./gguf-types.js";
import type { TensorEntry } from "./tensor-file.js";

export interface GgufEntry extends TensorEntry {
  readonly type: GgufTensorTypeName;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufEntry>;
}

/** "GGUF" as a little-endian number. */
export const GGUF_MAGIC = 0x46554747;
export const DEFAULT_ALIGNMENT = 32;

const MAX_ARRAY_DEPTH = 4;
const MAX_AXES = 4; // ggml's GGML_MAX_DIMS
const MIN_PAIR_BYTES = 8 + 4 + 1;
const MIN_TENSOR_BYTES = 8 + 4 + 4 + 8;
const MAX_KEY_BYTES = 65535; // the specification's limit

/** Reads and checks everything before the tensor bytes. @throws UserError naming the file, the byte and the defect */
export function readGgufHeader(file: ByteFile): GgufHeader {
  const cursor = new GgufCursor(file);
  const magic = cursor.uint32();
  if (magic !== GGUF_MAGIC) throw cursor.error(0, `magic 0x${magic.toString(16)}`, '"GGUF"');
  const version = cursor.uint32();
  if (version !== 2 && version !== 3) {
    const isSwapped = version === 0x02000000 || version === 0x03000000;
    throw cursor.error(
      4,
      isSwapped ? "a big-endian file" : `version ${version}`,
      "little-endian version 2 or 3",
    );
  }
  const tensorCount = cursor.count(MIN_TENSOR_BYTES, "tensors");
  const pairCount = cursor.count(MIN_PAIR_BYTES, "metadata pairs");
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < pairCount; i++) {
    const start = cursor.position;
    const key = cursor.string(MAX_KEY_BYTES);
    if (metadata.has(key)) throw cursor.error(start, `a second metadata key "${key}"`, "each key once");
    metadata.set(key, readValue(cursor, cursor.uint32(), 0));
  }
  const descriptions = new Map<string, Description>();
  for (let i = 0; i < tensorCount; i++) {
    const start = cursor.position;
    const name = cursor.string(MAX_KEY_BYTES);
    if (descriptions.has(name)) throw cursor.error(start, `a second tensor "${name}"`, "each tensor once");
    descriptions.set(name, readDescription(cursor, name));
  }
  const alignment = alignmentOf(metadata, cursor);
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  return { version, metadata, tensors: placed(descriptions, { dataStart, alignment, file, cursor }) };
}

interface Description {
  readonly type: GgufTensorTypeName;
  readonly shape: readonly number[];
  readonly bytes: bigint;
  /** Within the tensor bytes. */
  readonly offset: bigint;
  /** Where in the file the offset stands. */
  readonly position: number;
}

function readValue(cursor: GgufCursor, typeId: number, depth: number): GgufValue {
  const start = cursor.position - 4;
  if (typeId === GGUF_STRING) return { type: "string", value: cursor.string() };
  if (typeId === GGUF_ARRAY) return readArray(cursor, depth);
  const type = ggufScalarOf(typeId);
  if (type === undefined) throw cursor.error(start, `metadata type ${typeId}`, "a number from 0 to 12");
  if (type === "bool") {
    const byte = cursor.uint8();
    if (byte > 1) throw cursor.error(cursor.position - 1, `bool ${byte}`, "0 or 1");
    return { type, value: byte === 1 };
  }
  if (type === "uint64" || type === "int64") {
    const value = cursor.uint64();
    return { type, value: type === "int64" ? BigInt.asIntN(64, value) : value };
  }
  return { type, value: Number(cursor.numbers(type, 1)[0]) };
}

function readArray(cursor: GgufCursor, depth: number): GgufValue {
  const start = cursor.position;
  if (depth >= MAX_ARRAY_DEPTH) {
    throw cursor.error(start, `arrays nested more than ${MAX_ARRAY_DEPTH} deep`, "flat arrays");
  }
  const itemId = cursor.uint32();
  if (itemId === GGUF_STRING) {
    const count = cursor.count(8, "strings");
    const value: string[] = [];
    for (let i = 0; i < count; i++) value.push(cursor.string());
    return { type: "array", of: "string", value };
  }
  if (itemId === GGUF_ARRAY) {
    const count = cursor.count(4 + 8, "arrays");
    const value: GgufValue[] = [];
    for (let i = 0; i < count; i++) value.push(readArray(cursor, depth + 1));
    return { type: "array", of: "array", value };
  }
  const of: GgufScalarType | undefined = ggufScalarOf(itemId);
  if (of === undefined) throw cursor.error(start, `array of type ${itemId}`, "a number from 0 to 12");
  const count = cursor.count(GGUF_SCALARS[of].bytes, `numbers of type ${of}`);
  return { type: "array", of, value: cursor.numbers(of, count) };
}

function readDescription(cursor: GgufCursor, name: string): Description {
  const axesAt = cursor.position;
  const axes = cursor.uint32();
  if (axes > MAX_AXES) throw cursor.error(axesAt, `${axes} axes of tensor "${name}"`, `at most ${MAX_AXES}`);
  const sizes: bigint[] = [];
  for (let i = 0; i < axes; i++) sizes.push(cursor.uint64());
  const typeAt = cursor.position;
  const typeId = cursor.uint32();
  const type = ggufTensorTypeOf(typeId);
  if (type === undefined) {
    throw cursor.error(typeAt, `type ${typeId} of tensor "${name}"`, "a tensor type of ggml");
  }
  const { blockElements, blockBytes } = GGUF_TENSOR_TYPES[type];
  const row = sizes[0] ?? 1n;
  if (row % BigInt(blockElements) !== 0n) {
    const found = `rows of ${row} elements in tensor "${name}"`;
    throw cursor.error(axesAt, found, `a multiple of ${blockElements}, the block of ${type}`);
  }
  const bytes =
    (sizes.reduce((product, size) => product * size, 1n) / BigInt(blockElements)) * BigInt(blockBytes);
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  if (bytes > limit || sizes.some((size) => size > limit)) {
    throw cursor.error(
      axesAt,
      `shape [${sizes.toReversed().join(", ")}] of tensor "${name}"`,
      "a size in the file",
    );
  }
  const position = cursor.position;
  // GGUF lists the fastest axis first; everywhere else here the slowest is first.
  return { type, shape: sizes.map(Number).reverse(), bytes, offset: cursor.uint64(), position };
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, cursor: GgufCursor): number {
  const value = metadata.get("general.alignment");
  if (value === undefined) return DEFAULT_ALIGNMENT;
  if (value.type === "uint32" && value.value >= 8 && Number.isInteger(Math.log2(value.value))) {
    return value.value;
  }
  throw new UserError(
    `Cannot read GGUF file "${cursor.file.path}": general.alignment is ${value.type} ${String(value.value)}, expected a uint32 power of two of at least 8`,
  );
}

function placed(
  descriptions: ReadonlyMap<string, Description>,
  where: { dataStart: number; alignment: number; file: ByteFile; cursor: GgufCursor },
): ReadonlyMap<string, GgufEntry> {
  const { dataStart, alignment, file, cursor } = where;
  const available = BigInt(Math.max(0, file.sizeBytes - dataStart));
  const tensors = new Map<string, GgufEntry>();
  for (const [name, { type, shape, bytes, offset, position }] of descriptions) {
    if (offset % BigInt(alignment) !== 0n) {
      throw cursor.error(position, `offset ${offset} of tensor "${name}"`, `a multiple of ${alignment}`);
    }
    if (offset + bytes > available) {
      const found = `offset ${offset} of tensor "${name}" with ${bytes} bytes (${type}, shape [${shape.join(", ")}])`;
      throw cursor.error(position, found, `an end within the ${available} bytes from byte ${dataStart}`);
    }
    tensors.set(name, {
      type,
      shape,
      offset: dataStart + Number(offset),
      bytes: Number(bytes),
      file: file.path,
    });
  }
  const inOrder = [...tensors]
    .filter(([, { bytes }]) => bytes > 0)
    .sort(([, a], [, b]) => a.offset - b.offset);
  inOrder.forEach(([name, { offset }], i) => {
    const before = inOrder[i - 1];
    if (before === undefined || before[1].offset + before[1].bytes <= offset) return;
    throw new UserError(
      `Cannot read GGUF file "${file.path}": tensor "${name}" begins at byte ${offset}, expected at least byte ${before[1].offset + before[1].bytes}, where tensor "${before[0]}" ends (they overlap)`,
    );
  });
  return tensors;
}
