/** Reads a tokenizer's files. Knows their names and their JSON; the pipeline is built elsewhere. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { messageOf, UserError } from "../base/index.js";
import { createTokenizer } from "./create-tokenizer.js";
import { gpt2TokenizerJson } from "./gpt2-files.js";
import type { TextTokenizer } from "./tokenizer.js";
import { describe, isRecord, isTokenId, type TokenizerConfig } from "./tokenizer-json.js";

/**
 * The tokenizer in `directory`: `tokenizer.json`, or GPT-2's `encoder.json` or `vocab.json` with `vocab.bpe` or
 * `merges.txt`; special tokens from `tokenizer_config.json` and `special_tokens_map.json`, further ids that end a
 * text from `config.json` and `generation_config.json`.
 */
export function loadTokenizer(directory: string): TextTokenizer {
  if (!existsSync(directory) || !statSync(directory).isDirectory()) {
    throw new UserError(
      `Cannot load tokenizer ${directory}: there is no such directory, expected one with tokenizer.json`,
    );
  }
  const files = new Map<string, Buffer>();
  const read = (name: string): Buffer | undefined => {
    const path = join(directory, name);
    if (!existsSync(path)) return undefined;
    const bytes = readFileSync(path);
    files.set(name, bytes);
    return bytes;
  };
  const readFirst = (...names: string[]): { path: string; bytes: Buffer } | undefined => {
    for (const name of names) {
      const bytes = read(name);
      if (bytes !== undefined) return { path: join(directory, name), bytes };
    }
    return undefined;
  };

  const whole = readFirst("tokenizer.json");
  const vocab = whole === undefined ? readFirst("encoder.json", "vocab.json") : undefined;
  const merges = vocab === undefined ? undefined : readFirst("vocab.bpe", "merges.txt");
  const source = whole ?? merges;
  if (source === undefined) {
    throw new UserError(
      `Cannot load tokenizer ${directory}: it has ${vocab === undefined ? "no tokenizer.json" : `${basename(vocab.path)} but no vocab.bpe or merges.txt`}, expected tokenizer.json, or encoder.json (vocab.json) with vocab.bpe (merges.txt)`,
    );
  }
  const json =
    whole === undefined
      ? gpt2TokenizerJson(parseJson(vocab!.bytes, vocab!.path), merges!.bytes.toString("utf8"), merges!.path)
      : parseJson(whole.bytes, whole.path);
  const config = {
    ...(whole === undefined ? { bos_token: "<|endoftext|>", eos_token: "<|endoftext|>" } : {}),
    ...readObject(read("special_tokens_map.json"), join(directory, "special_tokens_map.json")),
    ...readObject(read("tokenizer_config.json"), join(directory, "tokenizer_config.json")),
  };
  // Only the files read so far define the tokenizer; the model's configuration adds ids that end a text.
  const hash = hashFiles(files);
  const eosIds = ["generation_config.json", "config.json"].flatMap((name) =>
    eosIdsOf(readObject(read(name), join(directory, name))),
  );
  return createTokenizer(json, config, { hash, where: source.path, eosIds });
}

/** `tokenizer_config.json` of `directory`, or an empty object. */
export function readTokenizerConfig(directory: string): TokenizerConfig {
  const path = join(directory, "tokenizer_config.json");
  return readObject(existsSync(path) ? readFileSync(path) : undefined, path);
}

function parseJson(bytes: Buffer, path: string): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new UserError(`Cannot read ${path}: it is not JSON (${messageOf(error)}), expected a JSON object`, {
      cause: error,
    });
  }
}

function readObject(bytes: Buffer | undefined, path: string): Readonly<Record<string, unknown>> {
  if (bytes === undefined) return {};
  const value = parseJson(bytes, path);
  if (isRecord(value)) return value;
  throw new UserError(`Cannot read ${path}: it is ${describe(value)}, expected a JSON object`);
}

function eosIdsOf(config: Readonly<Record<string, unknown>>): number[] {
  const value = config["eos_token_id"];
  return (Array.isArray(value) ? value : [value]).filter(isTokenId);
}

function hashFiles(files: ReadonlyMap<string, Buffer>): string {
  const hash = createHash("sha256");
  for (const name of [...files.keys()].sort()) {
    const bytes = files.get(name)!;
    hash.update(`${name}\n${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}
