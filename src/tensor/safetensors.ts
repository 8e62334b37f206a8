/**
 * Reading safetensors: one file, or a folder of shards with an index (see safetensors-index.ts).
 * Headers are read and checked when the file is opened; bytes only when a tensor is asked for.
 */
import { UserError } from "../base/index.js";
import { type ByteFile, openByteFile } from "./byte-file.js";
import { readSafetensorsHeader, type SafetensorsEntry } from "./safetensors-header.js";
import { expectIndexed, shardsOf } from "./safetensors-index.js";
import { FLOAT_DECODERS } from "./stored-dtype.js";
import { createChunk, readRowsInto, type TensorFile } from "./tensor-file.js";

export interface SafetensorsFile extends TensorFile<SafetensorsEntry> {
  /** `__metadata__` of the file, or of the shards together. */
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Opens a `.safetensors` file, a `.safetensors.index.json`, or a folder that holds `model.safetensors`
 * or `model.safetensors.index.json`.
 *
 * @throws UserError naming the file, the tensor, the byte, what was found and what was expected
 * @example
 * const file = openSafetensors("model/");
 * const weight = new Float32Array(sizeOf(file.tensors.get("model.norm.weight")!.shape));
 * file.readInto("model.norm.weight", weight, { rejectNonFinite: true });
 * file.close();
 */
export function openSafetensors(path: string): SafetensorsFile {
  const shards = shardsOf(path);
  const files = new Map<string, ByteFile>();
  const tensors = new Map<string, SafetensorsEntry>();
  const metadata = new Map<string, string>();
  const close = (): void => {
    for (const file of files.values()) file.close();
  };
  try {
    for (const shard of shards.paths) {
      const file = openByteFile(shard, "safetensors file");
      files.set(shard, file);
      const header = readSafetensorsHeader(file);
      if (shards.index !== undefined) expectIndexed(shards.index, shard, header.tensors);
      for (const [name, entry] of header.tensors) tensors.set(name, entry);
      for (const [key, value] of header.metadata) metadata.set(key, value);
    }
  } catch (thrown) {
    close();
    throw thrown;
  }
  const chunk = createChunk();
  const find = (name: string): SafetensorsEntry => {
    const entry = tensors.get(name);
    if (entry !== undefined) return entry;
    throw new UserError(
      `Cannot read tensor "${name}" of "${path}": it has no such tensor, expected one of its ${tensors.size}`,
    );
  };
  return {
    path,
    tensors,
    metadata,
    readInto(name, target, options = {}) {
      const entry = find(name);
      const decoder = FLOAT_DECODERS[entry.dtype];
      if (decoder === undefined) {
        throw new UserError(
          `Cannot read tensor "${name}" of "${entry.file}" as float32: its dtype is ${entry.dtype}, expected ${Object.keys(FLOAT_DECODERS).join(", ")}`,
        );
      }
      readRowsInto(files.get(entry.file)!, { name, entry, decoder }, target, { options, chunk });
    },
    readRaw(name) {
      const entry = find(name);
      const bytes = new Uint8Array(entry.bytes);
      files.get(entry.file)!.readInto(bytes, entry.offset);
      return bytes;
    },
    close,
  };
}
