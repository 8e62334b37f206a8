/** What a loss is: a graph over per-token logprobs. Knows nothing of models, batches or how it is differentiated. */
import type { Value } from "../graph/index.js";
import type { LossFnConfig } from "../protocol/index.js";

export interface LossArguments {
  /** Logprobs of the targets under the model being trained, [S], in nats. */
  readonly trainingLogprobs_S: Value;
  /** The loss's own inputs, [S] each, by their names in `Datum.lossFnInputs`. */
  readonly inputs: Readonly<Record<string, Value>>;
  /** Which datum a token belongs to, int64 [S]: any numbers below S that are equal within a datum and differ between two. */
  readonly sequences_S: Value;
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
   * `:min`, `:max`, or `:sequence_min` and `:sequence_max`, the least and the largest of the datums' means.
   */
  readonly metrics?: (loss: LossArguments) => Readonly<Record<string, Value>>;
}
