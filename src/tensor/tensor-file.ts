/**
 * An open file of named tensors, whatever its format, and the one routine that reads float32 out of it.
 * Memory: the caller's target and one chunk; a 15 GB model never enters the heap.
 */
import { UserError } from "../base/index.js";
import type { ByteFile } from "./byte-file.js";
import type { FloatDecoder } from "./stored-dtype.js";
import { sizeOf } from "./tensor.js";

export interface ReadOptions {
  /** First row (index of axis 0) to read; `target` then says how many rows. Default 0, the whole tensor. */
  readonly rowOffset?: number;
  /** Throw a UserError naming the first NaN or infinity. */
  readonly rejectNonFinite?: boolean;
}

export interface TensorEntry {
  readonly shape: readonly number[];
  /** Absolute place of the first byte in `file`. */
  readonly offset: number;
  readonly bytes: number;
  /** Path of the file (the shard) that holds it. */
  readonly file: string;
}

/** What the safetensors and GGUF readers share. Reads are synchronous: they are made for a worker thread. */
export interface TensorFile<Entry extends TensorEntry = TensorEntry> {
  /** As given to the opening function: a file or a folder. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, Entry>;
  /** Decodes a tensor, or the rows of it that fill `target`, to float32. */
  readInto(name: string, target: Float32Array, options?: ReadOptions): void;
  /** A copy of the tensor's bytes as stored. It starts at offset 0 of its buffer, so any view fits. */
  readRaw(name: string): Uint8Array;
  close(): void;
}

/** What `readRowsInto` needs to know of one tensor. */
export interface StoredRows {
  readonly name: string;
  readonly entry: TensorEntry;
  readonly decoder: FloatDecoder;
}

/** A buffer that grows to at most `CHUNK_BYTES` and is used again by every read of one file. */
export type Chunk = (sizeBytes: number) => Uint8Array;

/** Large enough for the disk's bandwidth, small enough for the cache of a laptop. */
export const CHUNK_BYTES = 8 * 2 ** 20;

export function createChunk(): Chunk {
  let buffer = new Uint8Array(0);
  return (sizeBytes) => {
    if (buffer.length < sizeBytes) buffer = new Uint8Array(sizeBytes);
    return buffer.subarray(0, sizeBytes);
  };
}

/** Reads and decodes `target.length` elements from row `rowOffset` on, chunk by chunk. */
export function readRowsInto(
  file: ByteFile,
  { name, entry, decoder }: StoredRows,
  target: Float32Array,
  { options = {}, chunk }: { options?: ReadOptions; chunk: Chunk },
): void {
  const first = firstElement(name, entry, target, options.rowOffset);
  const { blockElements, blockBytes } = decoder;
  const blocksPerChunk = Math.floor(CHUNK_BYTES / blockBytes);
  const blocks = target.length / blockElements;
  for (let block = 0; block < blocks; block += blocksPerChunk) {
    const count = Math.min(blocksPerChunk, blocks - block);
    const part = target.subarray(block * blockElements, (block + count) * blockElements);
    const position = entry.offset + (first / blockElements + block) * blockBytes;
    if (decoder.identical) {
      file.readInto(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), position);
    } else {
      const bytes = chunk(count * blockBytes);
      file.readInto(bytes, position);
      decoder.decodeInto(part, bytes);
    }
    if (options.rejectNonFinite === true) {
      expectFinite(part, (index) => {
        const element = first + block * blockElements + index;
        const place = entry.offset + Math.floor(element / blockElements) * blockBytes;
        return `Cannot use tensor "${name}" of "${entry.file}": element [${indexOf(element, entry.shape).join(", ")}] (byte ${place}) is ${part[index]}, expected finite numbers`;
      });
    }
  }
}

/** Index of the first NaN or infinity, or -1. */
export function firstNonFinite(values: Float32Array): number {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  // An exponent of all ones, and no other, carries into the sign bit: four at a time, without a branch.
  let carries = 0;
  const inFours = bits.length & ~3;
  for (let i = 0; i < inFours; i += 4) {
    carries |= (bits[i]! & 0x7f800000) + 0x00800000;
    carries |= (bits[i + 1]! & 0x7f800000) + 0x00800000;
    carries |= (bits[i + 2]! & 0x7f800000) + 0x00800000;
    carries |= (bits[i + 3]! & 0x7f800000) + 0x00800000;
  }
  for (let i = carries < 0 ? 0 : inFours; i < bits.length; i++) {
    if ((bits[i]! & 0x7f800000) === 0x7f800000) return i;
  }
  return -1;
}

function expectFinite(values: Float32Array, message: (index: number) => string): void {
  const index = firstNonFinite(values);
  if (index >= 0) throw new UserError(message(index));
}

function firstElement(name: string, entry: TensorEntry, target: Float32Array, rowOffset?: number): number {
  const elements = sizeOf(entry.shape);
  const shape = `[${entry.shape.join(", ")}]`;
  if (rowOffset === undefined) {
    if (target.length === elements) return 0;
    throw new RangeError(
      `Cannot read tensor "${name}" of shape ${shape} into ${target.length} places, expected ${elements}`,
    );
  }
  const row = sizeOf(entry.shape.slice(1));
  const rows = target.length / row;
  if (
    entry.shape.length > 0 &&
    Number.isInteger(rows) &&
    rowOffset >= 0 &&
    rowOffset + rows <= entry.shape[0]!
  )
    return rowOffset * row;
  throw new RangeError(
    `Cannot read ${target.length} elements from row ${rowOffset} of tensor "${name}" of shape ${shape}, expected whole rows of ${row} within it`,
  );
}

function indexOf(element: number, shape: readonly number[]): number[] {
  let rest = element;
  return shape
    .toReversed()
    .map((size) => {
      const index = rest % size;
      rest = Math.floor(rest / size);
      return index;
    })
    .reverse();
}
