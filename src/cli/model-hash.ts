/** What identifies the weights a run starts from. */
import { createHash } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../runs/index.js";

const WEIGHT_FILE = /^(config\.json|.*\.safetensors(\.index\.json)?)$/;

/** The files whose contents `hashModel` is about. */
export function hashedModelFiles(model: string): string[] {
  if (!statSync(model).isDirectory()) return [model];
  return readdirSync(model)
    .sort()
    .filter((name) => WEIGHT_FILE.test(name))
    .map((name) => join(model, name));
}

/** SHA-256 over the names and contents of a model's configuration and weight files, or of its one file. */
export function hashModel(model: string): string {
  if (!statSync(model).isDirectory()) return sha256(model);
  const hash = createHash("sha256");
  for (const name of readdirSync(model).sort()) {
    if (WEIGHT_FILE.test(name)) hash.update(`${sha256(join(model, name))} ${name}\n`);
  }
  return hash.digest("hex");
}
