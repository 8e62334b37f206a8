/** Writes tokenizer files in Hugging Face layout. Knows the names of the files and their fields. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CHATML_TEMPLATE } from "./chatml.js";
import type { TokenizerFiles } from "./llama2c-tokenizer.js";
import type { TokenizerConfig } from "./tokenizer-json.js";

export interface TrainedTokenizerOptions {
  /** Ends a turn and a text. @default "<|im_end|>" */
  readonly eosToken?: string;
  readonly bosToken?: string;
  /** @default "<|endoftext|>" */
  readonly padToken?: string;
  /** @default CHATML_TEMPLATE */
  readonly chatTemplate?: string;
}

/** Special tokens of a tokenizer that chats: pass them to `trainByteLevelBpe`. The first one is the padding. */
export const CHAT_SPECIAL_TOKENS: readonly string[] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/** `tokenizer_config.json` of a trained tokenizer that has `CHAT_SPECIAL_TOKENS`. */
export function trainedTokenizerConfig({
  eosToken = "<|im_end|>",
  bosToken,
  padToken = "<|endoftext|>",
  chatTemplate = CHATML_TEMPLATE,
}: TrainedTokenizerOptions = {}): TokenizerConfig {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...(bosToken === undefined ? {} : { bos_token: bosToken }),
    eos_token: eosToken,
    pad_token: padToken,
    clean_up_tokenization_spaces: false,
    chat_template: chatTemplate,
  };
}

/** Writes `tokenizer.json` and `tokenizer_config.json`, which transformers and `loadTokenizer` read. */
export function writeTokenizer(directory: string, { tokenizerJson, tokenizerConfig }: TokenizerFiles): void {
  mkdirSync(directory, { recursive: true });
  const write = (name: string, value: unknown): void =>
    writeFileSync(join(directory, name), `${JSON.stringify(value, null, 2)}\n`);
  write("tokenizer.json", tokenizerJson);
  write("tokenizer_config.json", tokenizerConfig);
}
