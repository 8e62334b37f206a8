/** What a loss is: a graph over per-token logprobs. Knows nothing of models, batches or how it is differentiated. */
import type { Value } from "../graph/index.js";
import type { LossFnConfig } from "../protocol/index.js";

export interface LossArguments {
  /** Logprobs of the targets under the model being trained, [S], in nats. */
  readonly trainingLogprobs_S: Value;
  /** The loss's own inputs, [S] each, by their names in `Datum.lossFnInputs`. */
  readonly inputs: Readonly<Record<string, Value>>;
  /** Which datum a token belongs to, int64 [S]: 0, 1, 2, … in the order of the datums, of those that have any token here. */
  readonly sequences_S: Value;
  /** What the head makes of the model's state at each token, [S]; for losses that read scores, which have no logprobs. */
  readonly scores_S?: Value;
  /** Entropy of the distribution that the target was one outcome of, [S], in nats; null where nobody computes it. */
  readonly entropy_S: Value | null;
  readonly config: LossFnConfig;
}

/** All losses are plain sums over tokens and datums (docs/notation.md): whoever wants a mean scales the weights. */
export interface Loss {
  readonly name: string;
  /** Per-token float inputs besides `target_tokens`. */
  readonly inputs: readonly string[];
  /** Of `inputs`, those a datum may leave out, with the value they then have at every token. */
  readonly optional: Readonly<Record<string, number>>;
  /** Numbers the loss reads, with their defaults; any other key is refused. */
  readonly defaults: LossFnConfig;
  /** What of the model the loss is a function of. @default "logprobs" */
  readonly reads?: "logprobs" | "scores";
  /**
   * Neighbouring datums that the loss couples, such as chosen and rejected. A call has a multiple of them, each has supervised tokens,
   * and those of an example stand in one micro-batch: datum i is member i mod n of example ⌊i/n⌋. @default 1
   */
  readonly datumsPerExample?: number;
  /** What messages call the members of an example. */
  readonly memberNames?: readonly string[];
  /** Inputs of which a datum may give one number, for all of it: it stands at the first token of its answer. @default none */
  readonly perSequence?: readonly string[];
  /** The input that is 0 except at the tokens of the answer, of which every datum must then have one. @default none */
  readonly answersIn?: string;
  /** What is wrong with a config, or null. @default nothing is */
  readonly refusal?: (config: LossFnConfig) => string | null;
  /** Config keys that name one of a few things, with the numbers they may be. */
  readonly choices?: Readonly<Record<string, readonly number[]>>;
  /** Inputs of which at least one is nonzero where a token can have a gradient: other tokens need no logits. */
  readonly supervisedBy: readonly string[];
  /** Of the optional inputs, those that a datum must have with this config. @default none */
  readonly required?: (config: LossFnConfig) => readonly string[];
  /** Whether `entropy_S` is wanted. @default false */
  readonly usesEntropy?: boolean;
  /** The loss of each token, [S], in nats. */
  readonly perToken: (loss: LossArguments) => Value;
  /**
   * Numbers to report, [S] each, by name. The end of the name says how supervised tokens become one number: `:mean`,
   * `:min`, `:max`, `:sum`, or of the datums' means the least, the largest, the mean or the sum: `:sequence_min`, `:sequence_max`,
   * `:sequence_mean`, `:sequence_sum`.
   */
  readonly metrics?: (loss: LossArguments) => Readonly<Record<string, Value>>;
}
