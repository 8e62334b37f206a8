/** Reading GGUF files: the header when opened, tensors decoded to float32 (or raw) when asked for. */
import { UserError } from "../base/index.js";
import { openByteFile } from "./byte-file.js";
import { GGUF_DECODERS } from "./gguf-decoders.js";
import { type GgufEntry, type GgufHeader, readGgufHeader } from "./gguf-header.js";
import type { GgufValue } from "./gguf-types.js";
import { createChunk, readRowsInto, type TensorFile } from "./tensor-file.js";

export interface GgufFile extends TensorFile<GgufEntry> {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
}

/**
 * Opens a GGUF file of version 2 or 3. Shapes have the slowest axis first, as everywhere else here.
 *
 * @throws UserError naming the file, the tensor, the byte, what was found and what was expected
 */
export function openGguf(path: string): GgufFile {
  const file = openByteFile(path, "GGUF file");
  let header: GgufHeader;
  try {
    header = readGgufHeader(file);
  } catch (thrown) {
    file.close();
    throw thrown;
  }
  const chunk = createChunk();
  const find = (name: string): GgufEntry => {
    const entry = header.tensors.get(name);
    if (entry !== undefined) return entry;
    throw new UserError(
      `Cannot read tensor "${name}" of "${path}": it has no such tensor, expected one of its ${header.tensors.size}`,
    );
  };
  return {
    path,
    ...header,
    readInto(name, target, options = {}) {
      const entry = find(name);
      const decoder = GGUF_DECODERS[entry.type];
      if (decoder === undefined) {
        throw new UserError(
          `Cannot read tensor "${name}" of "${path}" as float32: its type is ${entry.type}, expected one of ${Object.keys(GGUF_DECODERS).join(", ")}`,
        );
      }
      readRowsInto(file, { name, entry, decoder }, target, { options, chunk });
    },
    readRaw(name) {
      const entry = find(name);
      const bytes = new Uint8Array(entry.bytes);
      file.readInto(bytes, entry.offset);
      return bytes;
    },
    close: () => file.close(),
  };
}
