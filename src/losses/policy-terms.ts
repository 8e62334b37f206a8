/** What our policy losses have in common: ratios of a token or a sequence, KL, entropy, and the numbers they report. */
import {
  add,
  clamp,
  div,
  equal,
  exp,
  lessOrEqual,
  maximum,
  minimum,
  mul,
  neg,
  type Operand,
  sub,
  type Value,
  where,
} from "../graph/index.js";
import type { LossFnConfig } from "../protocol/index.js";
import type { Loss, LossArguments } from "./loss.js";
import { sumWithin } from "./sums.js";

/** Everything a policy loss may be told; absolute bounds of the ratio, as in `ppo`. */
export const POLICY_DEFAULTS = {
  clip_low_threshold: 0.8,
  clip_high_threshold: 1.2,
  /** Upper bound of the unclipped ratio, which matters where the advantage is negative; 0 for none. */
  delta: 0,
  kl_coef: 0,
  /** 1, 2 or 3: k1, k2 or k3 of http://joschu.net/blog/kl-approx.html. */
  kl_estimator: 3,
  /** 1 multiplies the estimate by the ratio, as TRL's `use_bias_correction_kl` does. */
  kl_bias_correction: 1,
  entropy_coef: 0,
} as const satisfies LossFnConfig;

/** The part of a loss that its file is about: the loss of each token before weights, KL and entropy, and the ratio. */
export interface PolicyTerms {
  readonly ratio_S: Value;
  readonly surrogate_S: Value;
}

/**
 * A policy loss from its surrogate ℓ:
 *
 *     L = Σ_t w_t (ℓ_t + β KL_t) − c Σ_t e_t H_t
 *
 * w: `weights`, 0 for tokens that the policy did not sample; they have no influence. e: `entropy_weights`, H: entropy.
 * A truncated importance weight is ≥ 0 and goes into `advantages`, of which every surrogate is a multiple.
 */
export function policyLoss(
  name: string,
  defaults: Readonly<Record<keyof typeof POLICY_DEFAULTS, number>>,
  terms: (loss: LossArguments) => PolicyTerms,
): Loss {
  return {
    name,
    inputs: ["logprobs", "advantages", "weights", "reference_logprobs", "entropy_weights"],
    optional: { reference_logprobs: 0, entropy_weights: 1 },
    defaults,
    choices: { kl_estimator: [1, 2, 3], kl_bias_correction: [0, 1] },
    supervisedBy: ["weights"],
    required: (config) => (config["kl_coef"] === 0 ? [] : ["reference_logprobs"]),
    usesEntropy: true,
    perToken: (loss) => {
      const { inputs, config, entropy_S } = loss;
      const { ratio_S, surrogate_S } = terms(loss);
      const penalty = klOf(loss, ratio_S);
      const policy = penalty === null ? surrogate_S : add(surrogate_S, mul(penalty, config["kl_coef"]!));
      const weighted = mul(policy, inputs["weights"]!);
      if (config["entropy_coef"] === 0) return weighted;
      if (entropy_S === null) throw new Error(`internal: ${name} has an entropy bonus and no entropy`);
      const bonus = mul(unlessMasked(loss, inputs["entropy_weights"]!), entropy_S);
      return sub(weighted, mul(bonus, config["entropy_coef"]!));
    },
    metrics: (loss) => policyMetrics(loss, terms(loss).ratio_S),
  };
}

/** r = π_θ / π_old of each token. */
export function tokenRatio({ trainingLogprobs_S, inputs: { logprobs } }: LossArguments): Value {
  return exp(sub(trainingLogprobs_S, logprobs!));
}

/** The ratio of a token's whole sequence, from the sum of its tokens' logarithms or from their mean. Masked tokens do not count. */
export function sequenceRatio(loss: LossArguments, reduce: "sum" | "mean"): Value {
  const { trainingLogprobs_S, sequences_S, inputs } = loss;
  const logRatios = unlessMasked(loss, sub(trainingLogprobs_S, inputs["logprobs"]!));
  const total = sumWithin(sequences_S, logRatios);
  const count = sumWithin(sequences_S, unlessMasked(loss, 1));
  return exp(reduce === "sum" ? total : div(total, maximum(count, 1)));
}

/** −min(r A, clip(r) A), with r itself cut at `delta` in the first term (INTELLECT-2, arXiv:2505.07291, section 3.4). */
export function clippedSurrogate(ratio_S: Value, { inputs: { advantages }, config }: LossArguments): Value {
  const clipped = clamp(ratio_S, config["clip_low_threshold"]!, config["clip_high_threshold"]!);
  const bounded = config["delta"]! > 0 ? minimum(ratio_S, config["delta"]!) : ratio_S;
  return neg(minimum(mul(bounded, advantages!), mul(clipped, advantages!)));
}

/** KL(π_θ ‖ π_ref) at each token, from d = log π_ref − log π_θ: k1 = −d, k2 = d²/2, k3 = eᵈ − d − 1. */
function klOf({ trainingLogprobs_S, inputs, config }: LossArguments, ratio_S: Value): Value | null {
  if (config["kl_coef"] === 0) return null;
  const d = sub(inputs["reference_logprobs"]!, trainingLogprobs_S);
  const estimators: Readonly<Record<number, () => Value>> = {
    1: () => neg(d),
    2: () => mul(mul(d, d), 0.5),
    3: () => sub(sub(exp(d), d), 1),
  };
  const estimate = estimators[config["kl_estimator"]!]!();
  return config["kl_bias_correction"] === 0 ? estimate : mul(estimate, ratio_S);
}

/** Names end as `Loss.metrics` says; those of the clip are TRL's. A masked token is not among those reported. */
function policyMetrics(loss: LossArguments, ratio_S: Value): Readonly<Record<string, Value>> {
  const { trainingLogprobs_S, inputs, config, entropy_S } = loss;
  const advantages = inputs["advantages"]!;
  const below = mul(isBelow(ratio_S, config["clip_low_threshold"]!), isBelow(advantages, 0));
  const above = mul(isBelow(config["clip_high_threshold"]!, ratio_S), isBelow(0, advantages));
  const kl = klOf(loss, ratio_S);
  return {
    "clip_ratio/low:mean": below,
    "clip_ratio/low:sequence_min": below,
    "clip_ratio/high:mean": above,
    "clip_ratio/high:sequence_max": above,
    "clip_ratio/region:mean": add(below, above),
    "ratio:mean": ratio_S,
    "ratio:min": ratio_S,
    "ratio:max": ratio_S,
    "policy_kl:mean": sub(inputs["logprobs"]!, trainingLogprobs_S),
    ...(kl === null ? {} : { "kl:mean": kl }),
    ...(entropy_S === null ? {} : { "entropy:mean": entropy_S }),
  };
}

/** 1 where a < b, else 0. */
function isBelow(a: Operand, b: Operand): Value {
  return where(lessOrEqual(b, a), 0, 1);
}

/** `value` where the policy sampled the token, 0 elsewhere. */
function unlessMasked({ inputs: { weights } }: LossArguments, value: Operand): Value {
  return where(equal(weights!, 0), 0, value);
}
