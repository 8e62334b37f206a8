/** A small model with fresh weights and a vocabulary of the data's words; or a model folder that is given, as it is. */
import { join, resolve } from "node:path";
import { z } from "zod";
import { readJsonl } from "../../datasets/index.js";
import { trainWordTokenizer } from "../../envs/index.js";
import type { Action } from "../../pipeline/index.js";
import { writeTokenizer } from "../../text/index.js";
import { initModel } from "../commands/init-model.js";
import { hashedModelFiles } from "../model-hash.js";
import { parseArguments } from "./arguments.js";

const positive = z.int().positive();
const Given = z.strictObject({
  /** "fresh", or the folder of a model to take as it is. */
  model: z.string().min(1),
  /** JSON Lines files whose texts give the vocabulary. */
  texts: z.array(z.string()),
  maxWords: positive.default(6000),
  hidden: positive,
  layers: positive,
  heads: positive,
  context: positive,
  seed: z.int().nonnegative(),
});

const END_OF_TEXT = "<|endoftext|>";

export const smallModel = ({ json }: { readonly json: boolean }): Action => ({
  version: 1,
  files(given) {
    const { model } = parseArguments(Given, given, "small-model");
    return model === "fresh" ? [] : hashedModelFiles(resolve(model));
  },
  async run({ directory, arguments: given, say }) {
    const { model, texts, maxWords, hidden, layers, heads, context, seed } = parseArguments(
      Given,
      given,
      "small-model",
    );
    if (model !== "fresh") return { directory: resolve(model), isFresh: false };
    const words: string[] = [];
    for (const file of texts) {
      for await (const { value } of readJsonl(file)) {
        if (typeof value !== "object" || value === null) continue;
        for (const text of Object.values(value)) if (typeof text === "string") words.push(text);
      }
    }
    const tokenizerJson = await trainWordTokenizer(words, { maxWords, specialTokens: [END_OF_TEXT] });
    const tokenizer = join(directory, "tokenizer");
    writeTokenizer(tokenizer, {
      tokenizerJson,
      tokenizerConfig: {
        tokenizer_class: "PreTrainedTokenizerFast",
        eos_token: END_OF_TEXT,
        pad_token: END_OF_TEXT,
        clean_up_tokenization_spaces: false,
      },
    });
    const target = join(directory, "model");
    const sizes = { family: "llama", size: "tiny", hidden, layers, heads, context } as const;
    await initModel(target, { ...sizes, tokenizer, tieEmbeddings: true, seed, dtype: "float32", json });
    const { length } = Object.keys(Object(tokenizerJson.model["vocab"]));
    say(`a Llama of ${layers} layers × ${hidden} with ${length} tokens`);
    return { directory: target, isFresh: true };
  },
});
