/** What a training example is, in Tinker's words. Token ids only; knows nothing about text. */
import { z } from "zod";

/** A run of token ids. A `ModelInput` may have several; they concatenate in order. */
export const EncodedTextChunk = z.strictObject({
  type: z.literal("encoded_text").default("encoded_text"),
  tokens: z.array(z.int().nonnegative()),
});
export type EncodedTextChunk = z.infer<typeof EncodedTextChunk>;

/** The tokens a model reads. */
export const ModelInput = z.strictObject({ chunks: z.array(EncodedTextChunk).min(1) });
export type ModelInput = z.infer<typeof ModelInput>;

/** Numbers with a dtype, flattened row-major; `shape` defaults to `[data.length]`. */
export const TensorData = z.strictObject({
  data: z.array(z.number()),
  dtype: z.enum(["int64", "float32"]),
  shape: z.array(z.int().nonnegative()).optional(),
});
export type TensorData = z.infer<typeof TensorData>;

/**
 * One training example. With N the length of `modelInput`, `lossFnInputs.target_tokens[i]` is the token to be
 * predicted from position i: the caller has already shifted. Every per-token tensor has length N.
 */
export const Datum = z.strictObject({
  modelInput: ModelInput,
  lossFnInputs: z.record(z.string(), TensorData),
});
export type Datum = z.infer<typeof Datum>;

/** A `ModelInput` of one chunk. */
export function modelInputFromTokens(tokens: readonly number[]): ModelInput {
  return { chunks: [{ type: "encoded_text", tokens: [...tokens] }] };
}

/** All token ids of a `ModelInput`, in order. */
export function tokensOf(input: ModelInput): number[] {
  return input.chunks.flatMap((chunk) => chunk.tokens);
}

/** The `Datum` that trains a sequence on its own next tokens, where `weights_T[i]` weighs predicting `tokens_T[i]`. */
export function nextTokenDatum(tokens_T: readonly number[], weights_T: readonly number[]): Datum {
  if (tokens_T.length !== weights_T.length || tokens_T.length < 2) {
    throw new RangeError(
      `Cannot build next-token datum: ${tokens_T.length} tokens and ${weights_T.length} weights, expected equal and at least 2`,
    );
  }
  return {
    modelInput: modelInputFromTokens(tokens_T.slice(0, -1)),
    lossFnInputs: {
      target_tokens: { data: tokens_T.slice(1), dtype: "int64" },
      weights: { data: weights_T.slice(1), dtype: "float32" },
    },
  };
}
