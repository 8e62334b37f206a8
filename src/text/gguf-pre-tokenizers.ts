/** How the byte-level tokenizers that GGUF files name split text into words, as stages of `tokenizer.json`. */

export interface WordSplit {
  /** Before the bytes; undefined is GPT-2's own pattern. */
  readonly preTokenizers?: readonly Readonly<Record<string, unknown>>[];
  readonly normalizer?: { readonly type: string };
  readonly ignoreMerges?: boolean;
}

const split = (regex: string): Readonly<Record<string, unknown>> => ({
  type: "Split",
  pattern: { Regex: regex },
  behavior: "Isolated",
  invert: false,
});
const digits = { type: "Digits", individual_digits: true };

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";

const gpt2: WordSplit = {};
const digitByDigit: WordSplit = { preTokenizers: [digits, split(GPT2)] };
const llama3: WordSplit = {
  preTokenizers: [split(`${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${REST}`)],
  ignoreMerges: true,
};
const qwen2: WordSplit = {
  preTokenizers: [split(`${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${REST}`)],
  normalizer: { type: "NFC" },
};
const tekken: WordSplit = {
  preTokenizers: [
    split(
      `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    ),
  ],
  ignoreMerges: true,
};
const deepseekCoder: WordSplit = {
  preTokenizers: [
    split("[\\r\\n]"),
    split("\\s?\\p{L}+"),
    split("\\s?\\p{P}+"),
    split("[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+"),
    digits,
  ],
};
const deepseekV3: WordSplit = {
  preTokenizers: [
    split("\\p{N}{1,3}"),
    split("[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+"),
    split(
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    ),
  ],
};

/** By the name in `tokenizer.ggml.pre`. */
export const GGUF_WORD_SPLITS: Readonly<Record<string, WordSplit>> = {
  default: gpt2,
  "gpt-2": gpt2,
  "phi-2": gpt2,
  smollm: digitByDigit,
  starcoder: digitByDigit,
  refact: digitByDigit,
  "command-r": digitByDigit,
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  qwen2,
  "deepseek-r1-qwen": qwen2,
  tekken,
  "deepseek-coder": deepseekCoder,
  "deepseek-v3": deepseekV3,
};
