/** Writing GGUF version 3: float32 tensors stored as F32, F16, Q8_0 or Q4_0, one in memory at a time. */
import { UserError } from "../base/index.js";
import { type ByteSink, writeFileAside } from "./byte-file.js";
import { DEFAULT_ALIGNMENT, GGUF_MAGIC } from "./gguf-header.js";
import {
  GGUF_ARRAY,
  GGUF_SCALARS,
  GGUF_STRING,
  GGUF_TENSOR_TYPES,
  type GgufScalarType,
  type GgufValue,
} from "./gguf-types.js";
import { float16FromFloat32, float16FromFloat32Into } from "./half.js";
import { sizeOf } from "./tensor.js";

export type WritableGgufType = "F32" | "F16" | "Q8_0" | "Q4_0";

export interface GgufTensorToWrite {
  readonly name: string;
  readonly type: WritableGgufType;
  /** Slowest axis first. */
  readonly shape: readonly number[];
  /** Called once, when its turn comes. */
  read(): Float32Array;
}

/** Writes a GGUF file, replacing `path` atomically. */
export function writeGguf(
  path: string,
  tensors: Iterable<GgufTensorToWrite>,
  metadata: Readonly<Record<string, GgufValue>>,
): void {
  const list = [...tensors];
  const alignment = alignmentOf(metadata);
  const header = headerBytes(path, list, { metadata, alignment });
  writeFileAside(path, (sink) => {
    sink.write(header);
    for (const tensor of list) {
      const data = tensor.read();
      if (data.length !== sizeOf(tensor.shape)) {
        throw new RangeError(
          `Cannot write tensor "${tensor.name}" to "${path}": ${data.length} elements, expected ${sizeOf(tensor.shape)} for shape [${tensor.shape.join(", ")}]`,
        );
      }
      ENCODERS[tensor.type](data, sink);
      sink.write(new Uint8Array(paddingAfter(bytesOf(tensor), alignment)));
    }
  });
}

/** Elements encoded at a time; a multiple of every block. */
const PIECE = 2 ** 20;

const ENCODERS: Record<WritableGgufType, (data: Float32Array, sink: ByteSink) => void> = {
  F32: (data, sink) => sink.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  F16: inPieces((piece) => {
    const halves = new Uint16Array(piece.length);
    float16FromFloat32Into(halves, piece);
    return new Uint8Array(halves.buffer);
  }),
  Q8_0: inPieces((piece) => encodeBlocks(piece, 34, encodeQ8_0)),
  Q4_0: inPieces((piece) => encodeBlocks(piece, 18, encodeQ4_0)),
};

function inPieces(encode: (piece: Float32Array) => Uint8Array) {
  return (data: Float32Array, sink: ByteSink): void => {
    for (let i = 0; i < data.length; i += PIECE) sink.write(encode(data.subarray(i, i + PIECE)));
  };
}

function encodeBlocks(
  data: Float32Array,
  blockBytes: number,
  encode: (block: Float32Array, bytes: Uint8Array) => void,
): Uint8Array {
  const bytes = new Uint8Array((data.length / 32) * blockBytes);
  for (let i = 0; i < data.length / 32; i++) {
    encode(data.subarray(i * 32, i * 32 + 32), bytes.subarray(i * blockBytes, (i + 1) * blockBytes));
  }
  return bytes;
}

/** d = max |w| / 127, q = round(w / d) with halves away from zero, as C's roundf. */
function encodeQ8_0(block: Float32Array, bytes: Uint8Array): void {
  const largest = block.reduce((most, w) => Math.max(most, Math.abs(w)), 0);
  const d = Math.fround(largest / 127);
  const inverse = d === 0 ? 0 : Math.fround(1 / d);
  writeHalf(bytes, d);
  block.forEach((w, i) => {
    const x = Math.fround(w * inverse);
    bytes[2 + i] = Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
  });
}

/** d = w / -8 for the w of largest magnitude, q = min(15, floor(w / d + 8.5)). */
function encodeQ4_0(block: Float32Array, bytes: Uint8Array): void {
  const extreme = block.reduce((most, w) => (Math.abs(w) > Math.abs(most) ? w : most), 0);
  const d = Math.fround(extreme / -8);
  const inverse = d === 0 ? 0 : Math.fround(1 / d);
  writeHalf(bytes, d);
  const q = (w: number): number => Math.min(15, Math.floor(Math.fround(Math.fround(w * inverse) + 8.5)));
  for (let i = 0; i < 16; i++) bytes[2 + i] = q(block[i]!) | (q(block[i + 16]!) << 4);
}

function writeHalf(bytes: Uint8Array, value: number): void {
  const half = float16FromFloat32(value);
  bytes[0] = half & 0xff;
  bytes[1] = half >> 8;
}

function headerBytes(
  path: string,
  tensors: readonly GgufTensorToWrite[],
  { metadata, alignment }: { metadata: Readonly<Record<string, GgufValue>>; alignment: number },
): Uint8Array {
  const pairs = Object.entries(metadata);
  const parts = [scalar("uint32", GGUF_MAGIC), scalar("uint32", 3)];
  parts.push(scalar("uint64", BigInt(tensors.length)), scalar("uint64", BigInt(pairs.length)));
  for (const [key, value] of pairs) {
    parts.push(string(key), scalar("uint32", typeIdOf(value)), payload(value));
  }
  let offset = 0;
  const names = new Set<string>();
  for (const tensor of tensors) {
    const { name, shape, type } = tensor;
    const { blockElements, id } = GGUF_TENSOR_TYPES[type];
    if (names.has(name))
      throw new UserError(`Cannot write "${path}": two tensors are called "${name}", expected unique names`);
    names.add(name);
    if ((shape.at(-1) ?? 1) % blockElements !== 0) {
      throw new UserError(
        `Cannot write tensor "${name}" of shape [${shape.join(", ")}] as ${type} to "${path}": its rows have ${shape.at(-1)} elements, expected a multiple of ${blockElements}. Store it as F16`,
      );
    }
    parts.push(string(name), scalar("uint32", shape.length));
    for (const size of shape.toReversed()) parts.push(scalar("uint64", BigInt(size)));
    parts.push(scalar("uint32", id), scalar("uint64", BigInt(offset)));
    offset += bytesOf(tensor);
    offset += paddingAfter(offset, alignment);
  }
  const bytes = Buffer.concat(parts);
  return Buffer.concat([bytes, new Uint8Array(paddingAfter(bytes.length, alignment))]);
}

function alignmentOf(metadata: Readonly<Record<string, GgufValue>>): number {
  const value = metadata["general.alignment"];
  return value?.type === "uint32" ? value.value : DEFAULT_ALIGNMENT;
}

function paddingAfter(bytes: number, alignment: number): number {
  return (alignment - (bytes % alignment)) % alignment;
}

function bytesOf({ shape, type }: GgufTensorToWrite): number {
  const { blockElements, blockBytes } = GGUF_TENSOR_TYPES[type];
  return (sizeOf(shape) / blockElements) * blockBytes;
}

function typeIdOf({ type }: GgufValue): number {
  if (type === "string") return GGUF_STRING;
  return type === "array" ? GGUF_ARRAY : GGUF_SCALARS[type].id;
}

function payload(value: GgufValue): Uint8Array {
  if (value.type === "string") return string(value.value);
  if (value.type !== "array") return scalar(value.type, value.value);
  const count = scalar("uint64", BigInt(value.value.length));
  if (value.of === "string") {
    return Buffer.concat([scalar("uint32", GGUF_STRING), count, ...value.value.map(string)]);
  }
  if (value.of === "array") {
    return Buffer.concat([scalar("uint32", GGUF_ARRAY), count, ...value.value.map(payload)]);
  }
  const numbers = new Uint8Array(value.value.buffer, value.value.byteOffset, value.value.byteLength);
  return Buffer.concat([scalar("uint32", GGUF_SCALARS[value.of].id), count, numbers]);
}

function string(text: string): Uint8Array {
  const bytes = Buffer.from(text);
  return Buffer.concat([scalar("uint64", BigInt(bytes.length)), bytes]);
}

function scalar(type: GgufScalarType, value: number | bigint | boolean): Uint8Array {
  const bytes = new Uint8Array(GGUF_SCALARS[type].bytes);
  const view = new DataView(bytes.buffer);
  if (type === "float32") view.setFloat32(0, Number(value), true);
  else if (type === "float64") view.setFloat64(0, Number(value), true);
  else {
    // Two's complement of any width is the low bytes of the 64-bit form.
    const whole = new DataView(new ArrayBuffer(8));
    whole.setBigInt64(0, BigInt(value), true);
    bytes.set(new Uint8Array(whole.buffer, 0, bytes.length));
  }
  return bytes;
}
