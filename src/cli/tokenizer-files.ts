/** Copying a tokenizer from one directory in Hugging Face layout to another. */
import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";

/** All that a tokenizer may consist of. */
const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "encoder.json",
  "vocab.bpe",
  "chat_template.jinja",
];

/** Copies those of the tokenizer's files that `from` has. */
export function copyTokenizer(from: string, to: string): void {
  for (const file of TOKENIZER_FILES) {
    if (existsSync(join(from, file))) copyFileSync(join(from, file), join(to, file));
  }
}
