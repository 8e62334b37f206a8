/** `hone convert`: a model of llama2.c or in a GGUF file, with its tokenizer, in Hugging Face layout. */
import { statSync } from "node:fs";
import { UserError } from "../../base/index.js";
import {
  type ConvertedModel,
  type GgufModel,
  readGgufModel,
  readLlama2c,
  writeHuggingFaceFolder,
} from "../../nn/index.js";
import {
  checkFits,
  ggufTokenizer,
  llama2cTokenizer,
  loadTokenizer,
  writeTokenizer,
} from "../../text/index.js";
import { fillNewDirectory } from "../new-directory.js";
import { createOutput, type OutputOptions } from "../output.js";
import { copyTokenizer } from "../tokenizer-files.js";

export interface ConvertOptions extends OutputOptions {
  /** llama2.c's `tokenizer.bin`, or a directory with tokenizer files. */
  readonly tokenizer?: string;
  readonly dtype: "float32" | "float16" | "bfloat16";
}

const STORED = { float32: "F32", float16: "F16", bfloat16: "BF16" } as const;

export async function convert(source: string, directory: string, options: ConvertOptions): Promise<void> {
  const output = createOutput(options);
  const { model, tokenizer } = openSource(source, options.tokenizer);
  try {
    await fillNewDirectory(directory, "model", (aside) => {
      if (tokenizer.write !== null) {
        tokenizer.write(aside);
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
  output.record("model", { directory, config: model.config, hasTokenizer: tokenizer.write !== null });
  output.print(`Wrote a ${family} of ${layers} layers of width ${hidden} to ${directory}`);
  if (tokenizer.write === null) {
    const { reason } = tokenizer;
    output.print(
      `${reason}The model has no tokenizer yet: name one with --tokenizer, or copy tokenizer.json into it`,
    );
  }
}

interface Source {
  readonly model: ConvertedModel;
  /** What writes the tokenizer's files, or null and why there are none: a sentence, or nothing. */
  readonly tokenizer:
    | { readonly write: (directory: string) => void }
    | { readonly write: null; readonly reason: string };
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
    return {
      model,
      tokenizer: fromDirectory === undefined ? embeddedTokenizer(model) : { write: fromDirectory },
    };
  }
  const model = readLlama2c(source);
  if (fromDirectory !== undefined) return { model, tokenizer: { write: fromDirectory } };
  if (tokenizer === undefined) return { model, tokenizer: { write: null, reason: "" } };
  try {
    const files = llama2cTokenizer(tokenizer, Number(model.config["vocab_size"]));
    return { model, tokenizer: { write: (directory) => writeTokenizer(directory, files) } };
  } catch (error) {
    model.close();
    throw error;
  }
}

/** The vocabulary inside a GGUF file. One of a kind we do not know costs the tokenizer, not the model. */
function embeddedTokenizer({ metadata }: GgufModel): Source["tokenizer"] {
  try {
    const files = ggufTokenizer(Object.fromEntries([...metadata].map(([key, { value }]) => [key, value])));
    return { write: (directory) => writeTokenizer(directory, files) };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { write: null, reason: `${error.message}. ` };
  }
}
