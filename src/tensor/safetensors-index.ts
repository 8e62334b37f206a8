/** Which files make up a model: `model.safetensors`, or the shards that `model.safetensors.index.json` lists. */
import { readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { messageOf, UserError } from "../base/index.js";
import { isJsonObject, JsonError, type JsonValue, parseStrictJson } from "./strict-json.js";

export const SINGLE_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";

export interface ShardIndex {
  readonly path: string;
  /** Tensor name to shard file name. */
  readonly weightMap: ReadonlyMap<string, string>;
}

export interface Shards {
  readonly paths: readonly string[];
  readonly index?: ShardIndex;
}

/** Resolves a file, an index or a folder; a folder's single file wins over its index, as in transformers. */
export function shardsOf(path: string): Shards {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() !== true) {
    return path.endsWith(".json") ? shardsOfIndex(path) : { paths: [path] };
  }
  const single = join(path, SINGLE_FILE);
  if (statSync(single, { throwIfNoEntry: false }) !== undefined) return { paths: [single] };
  const index = join(path, INDEX_FILE);
  if (statSync(index, { throwIfNoEntry: false }) !== undefined) return shardsOfIndex(index);
  throw new UserError(
    `Cannot open weights in folder "${path}": it has neither ${SINGLE_FILE} nor ${INDEX_FILE}, expected one of them`,
  );
}

/** Throws unless the shard holds exactly the tensors that the index places in it. */
export function expectIndexed(
  index: ShardIndex,
  shardPath: string,
  tensors: ReadonlyMap<string, unknown>,
): void {
  const shard = basename(shardPath);
  for (const [name, file] of index.weightMap) {
    if (file === shard && !tensors.has(name)) {
      throw new UserError(
        `Cannot read shard "${shardPath}": it has no tensor "${name}", expected it because "${index.path}" places it there`,
      );
    }
  }
  for (const name of tensors.keys()) {
    const file = index.weightMap.get(name);
    if (file === shard) continue;
    const place = file === undefined ? "does not list it" : `places it in "${file}"`;
    throw new UserError(
      `Cannot read shard "${shardPath}": it has tensor "${name}" but "${index.path}" ${place}, expected it in the index`,
    );
  }
}

function shardsOfIndex(path: string): Shards {
  const refuse = (found: string, expected: string): UserError =>
    new UserError(`Cannot read shard index "${path}": ${found}, expected ${expected}`);
  const json = parseIndex(path, refuse);
  if (!isJsonObject(json)) throw refuse("it is no JSON object", 'an object with "weight_map"');
  const map = json.get("weight_map")?.value;
  if (map === undefined || !isJsonObject(map)) {
    throw refuse('"weight_map" is missing or no object', "an object from tensor name to shard file");
  }
  const weightMap = new Map<string, string>();
  for (const [name, { value }] of map) {
    // A shard lies beside its index; anything else could read outside the model's folder.
    if (typeof value !== "string" || value === "" || basename(value) !== value || value.includes("\\")) {
      throw refuse(
        `tensor "${name}" lies in ${JSON.stringify(value)}`,
        "the name of a file beside the index",
      );
    }
    weightMap.set(name, value);
  }
  const names = [...new Set(weightMap.values())].sort();
  if (names.length === 0) throw refuse("it lists no tensor", "at least one");
  const missing = names.filter(
    (name) => statSync(join(dirname(path), name), { throwIfNoEntry: false }) === undefined,
  );
  if (missing.length > 0) {
    const list = missing.map((name) => `"${name}"`).join(", ");
    throw refuse(
      `${missing.length} of its ${names.length} shards are missing from "${dirname(path)}": ${list}`,
      "all of them. Download the missing files",
    );
  }
  return { paths: names.map((name) => join(dirname(path), name)), index: { path, weightMap } };
}

function parseIndex(path: string, refuse: (found: string, expected: string) => UserError): JsonValue {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    throw new UserError(`Cannot read shard index "${path}": ${messageOf(thrown)}, expected a readable file`, {
      cause: thrown,
    });
  }
  try {
    return parseStrictJson(text);
  } catch (thrown) {
    if (!(thrown instanceof JsonError)) throw thrown;
    const line = text.slice(0, thrown.position).split("\n").length;
    throw refuse(`line ${line} has ${thrown.found}`, thrown.expected);
  }
}
