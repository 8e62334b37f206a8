/** GPT-2's two files, `encoder.json` and `vocab.bpe`, as the `tokenizer.json` that means the same. */
import { UserError } from "../base/index.js";
import { parseVocab } from "./bpe.js";
import type { TokenizerJson } from "./tokenizer-json.js";

/** `vocab` is the parsed `encoder.json`, `merges` the text of `vocab.bpe` with its `#version` line. */
export function gpt2TokenizerJson(vocab: unknown, merges: string, where: string): TokenizerJson {
  const ids = parseVocab(vocab, where);
  const lines = merges.split(/\r?\n/);
  const pairs = lines.flatMap((line, i) => {
    if (line === "" || (i === 0 && line.startsWith("#version"))) return [];
    const pair = line.split(" ");
    if (pair.length === 2) return [pair];
    throw new UserError(
      `Cannot read merges ${where}:${i + 1}: line is ${JSON.stringify(line)}, expected two tokens with a space between`,
    );
  });
  const end = ids.get("<|endoftext|>");
  return byteLevelTokenizerJson({
    vocab: Object.fromEntries(ids),
    merges: pairs,
    specialTokens: end === undefined ? [] : [{ id: end, content: "<|endoftext|>" }],
  });
}

export interface ByteLevelParts {
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly (readonly string[])[];
  readonly specialTokens: readonly { readonly id: number; readonly content: string }[];
  /** Splits text into words before the bytes. @default GPT-2's own pattern, inside ByteLevel */
  readonly preTokenizers?: readonly Readonly<Record<string, unknown>>[];
  readonly normalizer?: { readonly type: string };
  readonly ignoreMerges?: boolean;
  readonly addedTokens?: readonly { readonly id: number; readonly content: string }[];
}

/** A byte-level BPE `tokenizer.json` in the field order of the `tokenizers` library. */
export function byteLevelTokenizerJson(parts: ByteLevelParts): TokenizerJson {
  const added = (special: boolean) => (token: { readonly id: number; readonly content: string }) => ({
    id: token.id,
    content: token.content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special,
  });
  const isOwn = parts.preTokenizers !== undefined;
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: !isOwn };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [
      ...parts.specialTokens.map(added(true)),
      ...(parts.addedTokens ?? []).map(added(false)),
    ].sort((a, b) => a.id - b.id),
    normalizer: parts.normalizer ?? null,
    pre_tokenizer: isOwn
      ? { type: "Sequence", pretokenizers: [...parts.preTokenizers, byteLevel] }
      : byteLevel,
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: parts.ignoreMerges ?? false,
      vocab: parts.vocab,
      merges: parts.merges,
    },
  };
}
