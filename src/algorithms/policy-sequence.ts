/** A rollout as the algorithms see it: tokens and numbers. Knows nothing about text, environments or graders. */
import { UserError } from "../base/index.js";
import { type Datum, nextTokenDatum, type TensorData } from "../protocol/index.js";

/** All `_T` are aligned with `tokens_T`: index t is about token t, 0 where there is nothing to say. */
export interface PolicySequence {
  readonly tokens_T: readonly number[];
  /** 1 where the policy sampled the token; 0 for tokens of the prompt, of tools and forced ones, which are not trained on. */
  readonly sampled_T: readonly number[];
  /** Of sampled tokens, under the distribution drawn from at the trainer's temperature, in nats. */
  readonly samplingLogprobs_T: readonly number[];
  /** Under the trainer's weights of the time of the rollout; needed for an importance correction. */
  readonly trainingLogprobs_T?: readonly number[];
  /** Under the reference; needed where beta is not 0. */
  readonly referenceLogprobs_T?: readonly number[];
  /** null when the reward is invalid: the sequence is left out. */
  readonly reward: number | null;
  /** The reward's parts by name, with their weights; needed for "normalize_then_sum". */
  readonly components?: Readonly<Record<string, { readonly score: number; readonly weight: number }>>;
  /** The completion ran into the token limit. @default false */
  readonly isTruncated?: boolean;
}

/** The datum whose `forward` pass with `cross_entropy` gives a sequence's logprobs. */
export function logprobDatum({ tokens_T, sampled_T }: Pick<PolicySequence, "tokens_T" | "sampled_T">): Datum {
  return nextTokenDatum(tokens_T, sampled_T);
}

/** Logprobs that `forward` reported for `logprobDatum`, aligned with the tokens: the first token has none. */
export function alignedLogprobs(reported: TensorData): number[] {
  return [0, ...reported.data];
}

/** @throws UserError naming the sequence and what does not fit */
export function checkSequence(sequence: PolicySequence, where: string): void {
  const { tokens_T, sampled_T, samplingLogprobs_T, trainingLogprobs_T, referenceLogprobs_T, reward } =
    sequence;
  const refuse = (what: string): UserError => new UserError(`Cannot build policy datum of ${where}: ${what}`);
  const arrays = { sampled_T, samplingLogprobs_T, trainingLogprobs_T, referenceLogprobs_T };
  for (const [name, values] of Object.entries(arrays)) {
    if (values !== undefined && values.length !== tokens_T.length)
      throw refuse(`it has ${values.length} ${name} for ${tokens_T.length} tokens, expected equal`);
    const at = values?.findIndex((value, t) => sampled_T[t] !== 0 && !Number.isFinite(value)) ?? -1;
    if (at >= 0) throw refuse(`${name} is ${values![at]} at token ${at}, expected a finite number`);
  }
  if (tokens_T.length < 2) throw refuse(`it has ${tokens_T.length} tokens, expected at least 2`);
  const strange = sampled_T.findIndex((value) => value !== 0 && value !== 1);
  if (strange >= 0) throw refuse(`sampled_T is ${sampled_T[strange]} at token ${strange}, expected 0 or 1`);
  if (sampled_T[0] !== 0) throw refuse("its first token counts as sampled, expected a prompt before it");
  if (reward !== null && !Number.isFinite(reward))
    throw refuse(`its reward is ${reward}, expected a finite number or null`);
}
