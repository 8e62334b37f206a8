/** What a tokenizer's model is to the pipeline, and the models that the library runs for us. */
import { messageOf, UserError } from "../base/index.js";
import { createBpe, parseVocab } from "./bpe.js";
import { library } from "./library.js";
import { describe, type Stage } from "./tokenizer-json.js";

/** One word to the ids of its tokens. */
export interface TokenModel {
  readonly vocab: ReadonlyMap<string, number>;
  encodeWord(word: string): readonly number[];
}

export function createTokenModel(stage: Stage, isByteLevel: boolean, where: string): TokenModel {
  switch (stage.type) {
    case "BPE":
      return createBpe(stage, isByteLevel, where);
    case "WordPiece":
    case "Unigram":
      if (isByteLevel) break;
      return createLibraryModel(stage, where);
    default:
  }
  throw new UserError(
    `Cannot read tokenizer ${where}: model is "${stage.type}"${isByteLevel ? " on bytes" : ""}, expected BPE, or WordPiece or Unigram without ByteLevel`,
  );
}

function createLibraryModel(stage: Stage, where: string): TokenModel {
  try {
    const model =
      stage.type === "WordPiece"
        ? new library.WordPiece({ ...stage, vocab: Object.fromEntries(parseVocab(stage["vocab"], where)) })
        : new library.Unigram(stage, "");
    const vocab = model.tokens_to_ids;
    const unknownId = model.unk_token_id;
    return {
      vocab,
      encodeWord: (word) =>
        model([word]).map((token) => {
          const id = vocab.get(token) ?? unknownId;
          if (id !== undefined) return id;
          throw new UserError(
            `Cannot encode ${JSON.stringify(word)}: tokenizer ${where} has no unknown token, expected one for ${JSON.stringify(token)}`,
          );
        }),
    };
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `Cannot read tokenizer ${where}: ${stage.type} model is not usable (${messageOf(error)}), expected "vocab" as the tokenizers library writes it; it is ${describe(stage["vocab"])}`,
      { cause: error },
    );
  }
}
