/** llama2.c's `tokenizer.bin` as tokenizer files in Hugging Face layout. Knows that format; converts no weights. */
import { existsSync, readFileSync } from "node:fs";
import { messageOf, UserError } from "../base/index.js";
import { type ScoredPiece, scoreBpeTokenizerJson } from "./score-bpe.js";
import type { TokenizerConfig, TokenizerJson } from "./tokenizer-json.js";

export interface TokenizerFiles {
  readonly tokenizerJson: TokenizerJson;
  readonly tokenizerConfig: TokenizerConfig;
}

/** llama2.c's fixed ids; `</s>` is 2. */
const UNKNOWN = 0;
const BOS = 1;

/**
 * Layout: int32 longest piece, then per token float32 score, int32 length, bytes. Encoding and decoding as llama2.c
 * does: a space before the text, `<s>` = 1, `</s>` = 2, bytes at 3 up to 258, merges by score.
 */
export function llama2cTokenizer(path: string, vocabSize: number): TokenizerFiles {
  if (!existsSync(path)) throw new UserError(`Cannot read llama2.c tokenizer ${path}: there is no such file`);
  const bytes = readFileSync(path);
  const pieces: ScoredPiece[] = [];
  let offset = 4;
  for (let id = 0; id < vocabSize; id++) {
    const fail = (found: string, expected: string): never => {
      throw new UserError(
        `Cannot read llama2.c tokenizer ${path} at byte ${offset}: token ${id} of ${vocabSize} ${found}, expected ${expected}`,
      );
    };
    if (offset + 8 > bytes.length) fail("is beyond the end of the file", `${vocabSize} tokens`);
    const score = bytes.readFloatLE(offset);
    const length = bytes.readInt32LE(offset + 4);
    if (length < 0 || offset + 8 + length > bytes.length) {
      fail(`has length ${length}`, `at most the ${bytes.length - offset - 8} bytes that are left`);
    }
    if (Number.isNaN(score)) fail("has score NaN", "a number");
    const text = decodePiece(bytes.subarray(offset + 8, offset + 8 + length), fail);
    pieces.push(pieceOf(id, text, score));
    offset += 8 + length;
  }
  if (offset !== bytes.length) {
    throw new UserError(
      `Cannot read llama2.c tokenizer ${path}: ${bytes.length - offset} bytes follow token ${vocabSize - 1}, expected the end of the file. Is the model's vocabulary larger than ${vocabSize}?`,
    );
  }
  return {
    tokenizerJson: scoreBpeTokenizerJson(pieces, {
      space: " ",
      hasPrefixSpace: true,
      unknownId: UNKNOWN,
      beforeIds: [BOS],
      afterIds: [],
    }),
    tokenizerConfig: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<s>",
      eos_token: "</s>",
      unk_token: "<unk>",
      clean_up_tokenization_spaces: false,
    },
  };
}

function decodePiece(bytes: Uint8Array, fail: (found: string, expected: string) => never): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    return fail(`is not UTF-8 (${messageOf(error)})`, "a piece of text");
  }
}

/** The first three are control tokens; the file spells two of them with line breaks around. */
function pieceOf(id: number, text: string, score: number): ScoredPiece {
  const controls = ["<unk>", "<s>", "</s>"];
  const control = controls[id];
  return control === undefined ? { text, score } : { text: control, score, isControl: true };
}
