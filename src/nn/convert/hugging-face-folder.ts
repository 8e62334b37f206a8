/** Writes a converted model as a folder that transformers, and this program, can load. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { writeFileAside, writeShardedSafetensors } from "../../tensor/index.js";
import type { ConvertedModel } from "./converted-model.js";

export interface FolderOptions {
  /** How weights are stored. Default F32, which loses nothing. */
  readonly dtype?: "F32" | "F16" | "BF16";
  readonly maxShardBytes?: number;
  /** Called before each tensor is written. */
  readonly onTensor?: (name: string, index: number, count: number) => void;
}

const TORCH_NAMES = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

/**
 * Writes `config.json` and `model.safetensors` (sharded when large), one tensor in memory at a time,
 * and returns the names of the files. The config comes last: a folder without one is no model yet.
 */
export function writeHuggingFaceFolder(
  folder: string,
  model: Pick<ConvertedModel, "config" | "tensors">,
  { dtype = "F32", maxShardBytes, onTensor }: FolderOptions = {},
): string[] {
  mkdirSync(folder, { recursive: true });
  let written = 0;
  const tensors = model.tensors.map(({ name, shape, read }) => ({
    name,
    shape,
    dtype,
    read(): Float32Array {
      onTensor?.(name, written++, model.tensors.length);
      return read();
    },
  }));
  const names = writeShardedSafetensors(
    folder,
    tensors,
    maxShardBytes === undefined ? {} : { maxShardBytes },
  );
  const config = JSON.stringify({ ...model.config, torch_dtype: TORCH_NAMES[dtype] }, null, 2);
  writeFileAside(join(folder, "config.json"), (sink) => sink.write(Buffer.from(`${config}\n`)));
  return [...names, "config.json"];
}
