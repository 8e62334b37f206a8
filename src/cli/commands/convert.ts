/** `hone convert`: a model of llama2.c or in a GGUF file, with its tokenizer, in Hugging Face layout. */
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../base/index.js";
import { type ConvertedModel, readGgufModel, readLlama2c, writeHuggingFaceFolder } from "../../nn/index.js";
import { checkFits, loadTokenizer } from "../../text/index.js";
import { ggufVocabulary } from "../gguf-vocabulary.js";
import { readLlama2cTokenizer } from "../llama2c-tokenizer.js";
import { fillNewDirectory } from "../new-directory.js";
import { createOutput, type OutputOptions } from "../output.js";
import {
  type SentencePieceVocabulary,
  sentencePieceTokenizerConfig,
  sentencePieceTokenizerJson,
} from "../sentencepiece-tokenizer.js";
import { copyTokenizer } from "../tokenizer-files.js";

export interface ConvertOptions extends OutputOptions {
  /** llama2.c's `tokenizer.bin`, or a directory with tokenizer files. */
  readonly tokenizer?: string;
  readonly dtype: "float32" | "float16" | "bfloat16";
}

const STORED = { float32: "F32", float16: "F16", bfloat16: "BF16" } as const;

export async function convert(source: string, directory: string, options: ConvertOptions): Promise<void> {
  const output = createOutput(options);
  const { model, writeTokenizer } = openSource(source, options.tokenizer);
  try {
    await fillNewDirectory(directory, "model", (aside) => {
      writeTokenizer?.(aside);
      if (writeTokenizer !== undefined) {
        checkFits(loadTokenizer(aside), directory, Number(model.config["vocab_size"]));
      }
      writeHuggingFaceFolder(aside, model, {
        dtype: STORED[options.dtype],
        onTensor: (tensor, index, count) => output.record("tensor", { tensor, index, count }),
      });
    });
  } finally {
    model.close();
  }
  const { model_type: family, num_hidden_layers: layers, hidden_size: hidden } = model.config;
  output.record("model", { directory, config: model.config, hasTokenizer: writeTokenizer !== undefined });
  output.print(`Wrote a ${family} of ${layers} layers of width ${hidden} to ${directory}`);
  if (writeTokenizer === undefined) {
    output.print("It has no tokenizer yet: name one with --tokenizer, or copy tokenizer.json into it");
  }
}

interface Source {
  readonly model: ConvertedModel;
  /** Undefined where no tokenizer is known. */
  readonly writeTokenizer: ((directory: string) => void) | undefined;
}

function openSource(source: string, tokenizer: string | undefined): Source {
  const found = statSync(source, { throwIfNoEntry: false });
  if (found === undefined || !found.isFile()) {
    throw new UserError(
      `Cannot convert ${source}: ${found === undefined ? "there is no such file" : "it is no file"}, expected a llama2.c checkpoint (.bin) or a GGUF file (.gguf)`,
    );
  }
  const fromDirectory =
    tokenizer !== undefined && statSync(tokenizer, { throwIfNoEntry: false })?.isDirectory() === true
      ? (directory: string) => copyTokenizer(tokenizer, directory)
      : undefined;
  if (source.endsWith(".gguf")) {
    if (tokenizer !== undefined && fromDirectory === undefined) {
      throw new UserError(
        `Cannot convert ${source} with tokenizer ${tokenizer}: it is no directory, expected one with tokenizer.json`,
      );
    }
    const model = readGgufModel(source);
    const vocabulary = fromDirectory === undefined ? ggufVocabulary(model.metadata) : undefined;
    const own = vocabulary === undefined ? undefined : writerOf(vocabulary);
    return { model, writeTokenizer: fromDirectory ?? own };
  }
  const model = readLlama2c(source);
  if (tokenizer === undefined || fromDirectory !== undefined) return { model, writeTokenizer: fromDirectory };
  try {
    const vocabulary = readLlama2cTokenizer(tokenizer, Number(model.config["vocab_size"]));
    return { model, writeTokenizer: writerOf(vocabulary) };
  } catch (error) {
    model.close();
    throw error;
  }
}

function writerOf(vocabulary: SentencePieceVocabulary): (directory: string) => void {
  return (directory) => {
    writeJson(join(directory, "tokenizer.json"), sentencePieceTokenizerJson(vocabulary));
    writeJson(join(directory, "tokenizer_config.json"), sentencePieceTokenizerConfig(vocabulary));
  };
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
