/** `hone tokenizer train`: a byte-level BPE tokenizer from texts, in Hugging Face layout. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CHATML_TEMPLATE, trainByteLevelBpe } from "../../text/index.js";
import { fillNewDirectory } from "../new-directory.js";
import { createOutput, type OutputOptions } from "../output.js";
import { readTexts } from "../text-sources.js";

export interface TokenizerTrainOptions extends OutputOptions {
  readonly output: string;
  readonly vocabSize: number;
  readonly field?: readonly string[];
  readonly minFrequency: number;
  readonly chat: boolean;
}

const END_OF_TEXT = "<|endoftext|>";
const TURN_START = "<|im_start|>";
const TURN_END = "<|im_end|>";

export async function trainTokenizer(
  files: readonly string[],
  options: TokenizerTrainOptions,
): Promise<void> {
  const output = createOutput(options);
  const { vocabSize, minFrequency, chat } = options;
  const specialTokens = chat ? [END_OF_TEXT, TURN_START, TURN_END] : [END_OF_TEXT];
  const tokenizer = await trainByteLevelBpe(readTexts(files, options.field), {
    vocabSize,
    specialTokens,
    minFrequency,
  });
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    eos_token: chat ? TURN_END : END_OF_TEXT,
    pad_token: END_OF_TEXT,
    ...(chat ? { chat_template: CHATML_TEMPLATE } : {}),
    clean_up_tokenization_spaces: false,
  };
  await fillNewDirectory(options.output, "tokenizer", (directory) => {
    writeFileSync(join(directory, "tokenizer.json"), `${JSON.stringify(tokenizer, null, 2)}\n`);
    writeFileSync(join(directory, "tokenizer_config.json"), `${JSON.stringify(config, null, 2)}\n`);
  });
  const found = Object.keys(tokenizer.model["vocab"] ?? {}).length;
  output.record("tokenizer", { directory: options.output, vocabSize: found });
  output.print(`Wrote a tokenizer of ${found} tokens to ${options.output}`);
  if (found < vocabSize) {
    output.print(
      `The texts have no more pairs that occur ${minFrequency} times: ${vocabSize} tokens were asked for`,
    );
  }
}
