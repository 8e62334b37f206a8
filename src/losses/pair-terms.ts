/**
 * What losses over pairs have in common. Datums 2i and 2i + 1 of a call are the chosen and the rejected answer of pair i;
 * an engine keeps them in one micro-batch because the losses say `datumsPerExample: 2`.
 *
 * `weights` is 0 where a token is not of the answer, and elsewhere what the pair counts for: 1/pairs for a mean.
 */
import {
  add,
  cast,
  div,
  equal,
  lessOrEqual,
  maximum,
  mul,
  neg,
  sub,
  type Value,
  where,
} from "../graph/index.js";
import type { LossFnConfig } from "../protocol/index.js";
import type { Loss, LossArguments } from "./loss.js";
import { sumWithin } from "./sums.js";

export interface Members {
  readonly chosen: Value;
  readonly rejected: Value;
}

/** Numbers of a pair, [S] each: every token has those of its own pair. */
export interface Pairs {
  /** Sums over the answer's tokens. */
  readonly sums: (values_S: Value) => Members;
  /** Means over the answer's tokens, from their sums. */
  readonly means: (sums: Members) => Members;
  /** A pair's loss as its tokens' shares, which add up to it times the mean of its tokens' weights. */
  readonly shares: (loss_S: Value) => Value;
}

export function pairsOf({ sequences_S, inputs: { weights } }: LossArguments): Pairs {
  const sequences = cast(sequences_S, "float32");
  // Casts truncate: sequence numbers 2i and 2i + 1 become i.
  const pairs_S = cast(mul(sequences, 0.5), "int64");
  const isRejected_S = sub(sequences, mul(cast(pairs_S, "float32"), 2));
  const answer_S = where(equal(weights!, 0), 0, 1);
  const rejected_S = mul(answer_S, isRejected_S);
  const chosen_S = sub(answer_S, rejected_S);
  const sums = (values_S: Value): Members => ({
    chosen: sumWithin(pairs_S, mul(values_S, chosen_S)),
    rejected: sumWithin(pairs_S, mul(values_S, rejected_S)),
  });
  const counts = { chosen: sumWithin(pairs_S, chosen_S), rejected: sumWithin(pairs_S, rejected_S) };
  return {
    sums,
    means: ({ chosen, rejected }) => ({
      chosen: div(chosen, maximum(counts.chosen, 1)),
      rejected: div(rejected, maximum(counts.rejected, 1)),
    }),
    shares: (loss_S) => mul(div(loss_S, maximum(add(counts.chosen, counts.rejected), 1)), weights!),
  };
}

/** Σ_t −n_t log π_θ(y_t), with n in `nll_weights`: supervised training on the chosen answer beside a pair's loss. */
export function negativeLogLikelihood({ trainingLogprobs_S, inputs }: LossArguments): Value {
  return neg(mul(trainingLogprobs_S, inputs["nll_weights"]!));
}

/** TRL's numbers about pairs. `rewards`: what the loss thinks of an answer; `logprobs`: sums or means, as the loss takes them. */
export function pairMetrics(rewards: Members, logprobs: Members): Readonly<Record<string, Value>> {
  return {
    "rewards/chosen:sequence_mean": rewards.chosen,
    "rewards/rejected:sequence_mean": rewards.rejected,
    "rewards/accuracies:sequence_mean": where(lessOrEqual(rewards.chosen, rewards.rejected), 0, 1),
    "rewards/margins:sequence_mean": sub(rewards.chosen, rewards.rejected),
    "logps/chosen:sequence_mean": logprobs.chosen,
    "logps/rejected:sequence_mean": logprobs.rejected,
  };
}

/** What every loss over pairs says of itself. */
export const PAIRWISE = {
  datumsPerExample: 2,
  memberNames: ["chosen", "rejected"],
} as const satisfies Partial<Loss>;

/** What is wrong with the two numbers that most losses over pairs have. */
export function refusePairConfig({ beta, label_smoothing: noise = 0 }: LossFnConfig): string | null {
  if (!(beta! > 0)) return `beta is ${beta}, expected a positive number`;
  return noise >= 0 && noise < 0.5
    ? null
    : `label_smoothing is ${noise}, expected 0 or more and less than 0.5`;
}

/** Rewards that are β times what the loss reads of an answer. */
export function scaled({ chosen, rejected }: Members, beta: number): Members {
  return { chosen: mul(chosen, beta), rejected: mul(rejected, beta) };
}

/** Weighted loss types of a config, as one loss of a pair; null when all weights are 0. */
export function weightedTypes(
  types: Readonly<Record<string, () => Value>>,
  config: LossFnConfig,
): Value | null {
  const parts = Object.entries(types)
    .filter(([name]) => config[name] !== 0)
    .map(([name, type]) => mul(type(), config[name]!));
  return parts.length === 0 ? null : parts.reduce((a, b) => add(a, b));
}
