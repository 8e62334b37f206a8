/** What an engine is made from. Plain data, so that it can be sent to a worker thread. */

/** A model: a Hugging Face folder, a `.gguf` file, or fresh random weights of a shape given as `config.json` would. */
export type ModelSourceOptions =
  | string
  | { readonly config: Readonly<Record<string, unknown>>; readonly seed: number };

export interface LoraOptions {
  readonly rank: number;
  readonly alpha: number;
  /** Scale by alpha/√rank instead of alpha/rank. @default false */
  readonly rsLora?: boolean;
  /** "all-linear", or module names such as "q_proj". @default "all-linear" */
  readonly targets?: string | readonly string[];
}

export interface QuantiseOptions {
  /** Columns of a weight that share a scale. @default 32 */
  readonly block?: 32 | 128;
  /** Zero 8 in every block, instead of a zero point per block. @default true */
  readonly symmetric?: boolean;
}

export interface EngineOptions {
  readonly model: ModelSourceOptions;
  /** Trains an adapter on the frozen model; left out, all weights are trained. */
  readonly lora?: LoraOptions;
  /** A PEFT folder to start from; its rank, alpha and targets hold. */
  readonly adapter?: string;
  /**
   * Makes the model a reward model: a score per token instead of a vocabulary, stored as transformers' sequence classification with one
   * label does ("score.weight"), and trained in full beside an adapter. "stored" refuses a model that has none, "fresh" one that has.
   * Left out, a folder or adapter with a score is a reward model.
   */
  readonly rewardHead?: "stored" | "fresh";
  /** Holds the frozen projections in 4 bits. Needs `lora` or `adapter`. A GGUF model's Q4_0 weights are taken as they are. */
  readonly quantise?: QuantiseOptions;
  /** Recomputes activations in the backward pass: about a third slower, far less memory. @default false */
  readonly gradientCheckpointing?: boolean;
  /** Sequences are computed together up to this many tokens; the result does not depend on it. @default 4096 */
  readonly microBatchTokens?: number;
  /**
   * Tokens with which neighbouring datums begin alike, such as the prompt of a group, are computed once, and count once
   * for `microBatchTokens`; the result does not depend on it. Stock operators' attention holds them for each datum: there
   * the datums of a micro-batch have at most twice `microBatchTokens` in all. @default true
   */
  readonly sharePrefixes?: boolean;
  /** Seed of fresh adapters. @default 0 */
  readonly seed?: number;
  /** Threads of one operator. @default the number of cores */
  readonly threads?: number;
  /** "cpu" takes stock operators even where our kernels work. @default "native" */
  readonly runtime?: "native" | "cpu";
}
