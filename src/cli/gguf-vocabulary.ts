/** The SentencePiece vocabulary inside a GGUF file's metadata. */
import { UserError } from "../base/index.js";
import type { GgufModel } from "../nn/index.js";
import type { SentencePieceVocabulary } from "./sentencepiece-tokenizer.js";

/** ggml's token types whose text never stands for itself: unknown, control, unused. */
const CONTROL_TYPES = new Set([2, 3, 5]);

/**
 * The vocabulary, or undefined when the file has none or one of another kind (byte-level BPE): the model's
 * tokenizer.json is then needed, because the file does not say how text is split into words.
 *
 * @throws UserError when the vocabulary contradicts itself
 */
export function ggufVocabulary(metadata: GgufModel["metadata"]): SentencePieceVocabulary | undefined {
  if (metadata.get("tokenizer.ggml.model")?.value !== "llama") return undefined;
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const scores = metadata.get("tokenizer.ggml.scores");
  const types = metadata.get("tokenizer.ggml.token_type");
  if (tokens?.type !== "array" || tokens.of !== "string") throw refuse("tokens", "a list of strings");
  if (scores?.type !== "array" || scores.of !== "float32") throw refuse("scores", "a list of float32");
  if (types?.type !== "array" || types.of !== "int32") throw refuse("token_type", "a list of int32");
  const pieces = tokens.value;
  for (const [name, list] of [["scores", scores.value] as const, ["token_type", types.value] as const]) {
    if (list.length !== pieces.length) {
      throw refuse(name, `${pieces.length} entries, one per token (it has ${list.length})`);
    }
  }
  const id = (name: string, fallback: number): number => {
    const value = metadata.get(`tokenizer.ggml.${name}_token_id`)?.value;
    const found = value === undefined ? fallback : Number(value);
    if (pieces[found] === undefined) throw refuse(`${name}_token_id`, `an id below ${pieces.length}`);
    return found;
  };
  return {
    pieces,
    scores: Float64Array.from(scores.value, Number),
    controlIds: new Set(pieces.flatMap((_, i) => (CONTROL_TYPES.has(Number(types.value[i])) ? [i] : []))),
    unkId: id("unknown", 0),
    bosId: id("bos", 1),
    eosId: id("eos", 2),
  };
}

function refuse(name: string, expected: string): UserError {
  return new UserError(
    `Cannot read the file's tokenizer: metadata tokenizer.ggml.${name} is not ${expected}`,
  );
}
