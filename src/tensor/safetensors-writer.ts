/**
 * Writing safetensors, byte for byte as the safetensors library lays them out: tensors sorted by alignment and
 * name, header padded with spaces to a multiple of 8. One tensor at a time is in memory; files appear whole or not.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/index.js";
import { type ByteSink, writeFileAside } from "./byte-file.js";
import { INDEX_FILE, SINGLE_FILE } from "./safetensors-index.js";
import { FLOAT_ENCODERS, STORED_DTYPES, type StoredDType } from "./stored-dtype.js";
import { sizeOf } from "./tensor.js";
import { CHUNK_BYTES } from "./tensor-file.js";

export type TensorArray =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /**
   * Called once, when its turn comes. A Float32Array is encoded to any floating dtype;
   * every other array must have the dtype's bytes already.
   */
  read(): TensorArray;
}

export interface ShardedWriteOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** Above this many bytes of tensors, the model is split. The default is Hugging Face's for large models. */
  readonly maxShardBytes?: number;
}

/** Writes `tensors` to `path`, replacing it atomically. */
export function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const sorted = [...tensors].sort(inLibraryOrder);
  const header = headerBytes(path, sorted, metadata);
  writeFileAside(path, (sink) => {
    sink.write(header);
    for (const tensor of sorted) writeTensor(path, tensor, sink);
  });
}

/**
 * Writes `model.safetensors`, or shards and their index when it would be above `maxShardBytes`,
 * and then removes the weights that were there before, so that a folder never holds two models. Returns the names of the files.
 */
export function writeShardedSafetensors(
  folder: string,
  tensors: Iterable<TensorToWrite>,
  { metadata = { format: "pt" }, maxShardBytes = 5e9 }: ShardedWriteOptions = {},
): string[] {
  const shards: TensorToWrite[][] = [];
  let room = 0;
  let totalBytes = 0;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (shards.length === 0 || bytes > room) {
      shards.push([]);
      room = maxShardBytes;
    }
    shards.at(-1)!.push(tensor);
    room -= bytes;
    totalBytes += bytes;
  }
  if (shards.length <= 1) {
    writeSafetensors(join(folder, SINGLE_FILE), shards[0] ?? [], metadata);
    removeOthers(folder, [SINGLE_FILE]);
    return [SINGLE_FILE];
  }
  expectUnique(
    folder,
    shards.flat().map(({ name }) => name),
  );
  const count = String(shards.length).padStart(5, "0");
  const weightMap: [string, string][] = [];
  const names = shards.map((shard, i) => {
    const name = `model-${String(i + 1).padStart(5, "0")}-of-${count}.safetensors`;
    writeSafetensors(join(folder, name), shard, metadata);
    for (const tensor of shard) weightMap.push([tensor.name, name]);
    return name;
  });
  const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(weightMap.sort()) };
  writeFileAside(join(folder, INDEX_FILE), (sink) => {
    sink.write(Buffer.from(`${JSON.stringify(index, null, 2)}\n`));
  });
  const written = [...names, INDEX_FILE];
  removeOthers(folder, written);
  return written;
}

/** Removes weights of a model that was in the folder before; the new ones are on disk by now. */
function removeOthers(folder: string, written: readonly string[]): void {
  const isWeights = (name: string): boolean =>
    name === SINGLE_FILE || name === INDEX_FILE || /^model-\d{5}-of-\d{5}\.safetensors$/.test(name);
  for (const name of readdirSync(folder)) {
    if (isWeights(name) && !written.includes(name)) rmSync(join(folder, name));
  }
}

function headerBytes(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  expectUnique(
    path,
    tensors.map(({ name }) => name),
  );
  let offset = 0;
  const members = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  for (const tensor of tensors) {
    const end = offset + bytesOf(tensor);
    const { dtype, shape } = tensor;
    members.push(
      `${JSON.stringify(tensor.name)}:${JSON.stringify({ dtype, shape, data_offsets: [offset, end] })}`,
    );
    offset = end;
  }
  const json = Buffer.from(`{${members.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  return header;
}

function writeTensor(path: string, tensor: TensorToWrite, sink: ByteSink): void {
  const { name, dtype } = tensor;
  const data = tensor.read();
  const elements = sizeOf(tensor.shape);
  const encode = data instanceof Float32Array ? FLOAT_ENCODERS[dtype] : undefined;
  const found = encode === undefined ? data.byteLength : data.length * STORED_DTYPES[dtype];
  if (found !== bytesOf(tensor)) {
    throw new RangeError(
      `Cannot write tensor "${name}" to "${path}": ${data.length} elements of ${data.BYTES_PER_ELEMENT} bytes, expected ${elements} of ${dtype} for shape [${tensor.shape.join(", ")}]`,
    );
  }
  if (encode === undefined || !(data instanceof Float32Array)) {
    sink.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return;
  }
  const chunkElements = CHUNK_BYTES / 4;
  for (let i = 0; i < data.length; i += chunkElements)
    sink.write(encode(data.subarray(i, i + chunkElements)));
}

function bytesOf({ shape, dtype }: TensorToWrite): number {
  return sizeOf(shape) * STORED_DTYPES[dtype];
}

function inLibraryOrder(left: TensorToWrite, right: TensorToWrite): number {
  const order = Object.keys(STORED_DTYPES);
  const byDtype = order.indexOf(left.dtype) - order.indexOf(right.dtype);
  // By UTF-8 bytes, as Rust compares strings.
  return byDtype !== 0 ? byDtype : Buffer.compare(Buffer.from(left.name), Buffer.from(right.name));
}

function expectUnique(path: string, names: readonly string[]): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (name === "__metadata__" || seen.has(name)) {
      throw new UserError(`Cannot write "${path}": two tensors are called "${name}", expected unique names`);
    }
    seen.add(name);
  }
}
