/** A trained model as a Hugging Face folder: weights, config and whatever else the source's folder holds. */
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { writeFileAside, writeShardedSafetensors } from "../tensor/index.js";
import type { WeightSource } from "./weight-source.js";
import type { Weights } from "./weights.js";

/** Files of a model folder, besides config and weights, that go wherever its weights go. */
const COMPANIONS = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "generation_config.json",
  "chat_template.jinja",
  "vocab.json",
  "merges.txt",
];

export function writeModel(
  directory: string,
  { folder, json }: Pick<WeightSource, "folder" | "json">,
  { trainable, slot }: Pick<Weights, "trainable" | "slot">,
): void {
  mkdirSync(directory, { recursive: true });
  writeShardedSafetensors(
    directory,
    trainable.map(({ name, shape }) => ({
      name,
      shape,
      dtype: "F32" as const,
      read: () => slot(name).parameter,
    })),
  );
  for (const file of folder === null ? [] : COMPANIONS) {
    const path = join(folder!, file);
    if (existsSync(path)) copyFileSync(path, join(directory, file));
  }
  // transformers 5 writes `dtype`, older ones `torch_dtype`; either, left as it was, would round what was trained.
  const stored = json["dtype"] === undefined ? "torch_dtype" : "dtype";
  const { dtype: _dtype, torch_dtype: _torchDtype, ...rest } = json;
  const config = { ...rest, [stored]: "float32" };
  writeFileAside(join(directory, "config.json"), (sink) =>
    sink.write(Buffer.from(`${JSON.stringify(config, null, 2)}\n`)),
  );
}
