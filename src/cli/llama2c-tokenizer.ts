/** Reads llama2.c's `tokenizer.bin`: a length, then per token a score, a length and UTF-8 bytes. */
import { readFileSync } from "node:fs";
import { UserError } from "../base/index.js";
import type { SentencePieceVocabulary } from "./sentencepiece-tokenizer.js";

const UNK = 0;
const BOS = 1;
const EOS = 2;
const BYTE_TOKENS = 256;

/** @throws UserError naming the byte where the file stops making sense */
export function readLlama2cTokenizer(path: string, vocabularySize: number): SentencePieceVocabulary {
  const refuse = (found: string, expected: string): UserError =>
    new UserError(`Cannot read llama2.c tokenizer ${path}: ${found}, expected ${expected}`);
  const bytes = readBytes(path);
  const pieces: string[] = [];
  const scores: number[] = [];
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let offset = 4;
  while (offset < bytes.length) {
    if (offset + 8 > bytes.length) throw refuse(`it ends within token ${pieces.length}`, "a whole token");
    const score = bytes.readFloatLE(offset);
    const length = bytes.readInt32LE(offset + 4);
    const start = offset + 8;
    if (length < 0 || start + length > bytes.length) {
      throw refuse(
        `byte ${offset + 4} gives token ${pieces.length} a length of ${length}`,
        `0 to ${bytes.length - start}`,
      );
    }
    try {
      pieces.push(decoder.decode(bytes.subarray(start, start + length)));
    } catch {
      throw refuse(`token ${pieces.length} at byte ${start} is not UTF-8`, "UTF-8 text");
    }
    scores.push(score);
    offset = start + length;
  }
  if (pieces.length !== vocabularySize) {
    throw refuse(`it has ${pieces.length} tokens`, `${vocabularySize}, as the checkpoint has`);
  }
  const firstByte = pieces[EOS + 1];
  if (pieces.length < EOS + 1 + BYTE_TOKENS || firstByte !== "<0x00>") {
    throw refuse(`token 3 is ${JSON.stringify(firstByte)}`, 'the first of 256 byte tokens, "<0x00>"');
  }
  // llama2.c writes BOS and EOS between line breaks and SentencePiece's space sign as a space.
  const special = ["<unk>", "<s>", "</s>"];
  return {
    pieces: pieces.map((piece, id) => special[id] ?? piece.replaceAll(" ", "▁")),
    scores,
    controlIds: new Set([UNK, BOS, EOS]),
    unkId: UNK,
    bosId: BOS,
    eosId: EOS,
  };
}

function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : "it cannot be read";
    throw new UserError(`Cannot read llama2.c tokenizer ${path}: ${reason}, expected a tokenizer.bin file`, {
      cause: error,
    });
  }
}
