/**
 * KTO (Ethayarajh et al., arXiv:2402.01306, equations 7 and 8): answers that are good or bad on their own, without pairs.
 *
 *     L = Σ_datums w λ (1 − σ(s β (d − z))),    d = Σ_t log π_θ(y_t) − log π_ref(y_t)
 *
 * `labels`: 1 for a desirable answer (s = 1, λ = `desirable_weight`), 0 for an undesirable one (s = −1,
 * λ = `undesirable_weight`). z: `kl`, the KL of policy to reference as the caller estimated it over the whole batch; no
 * gradient flows through it, so it is a number like any other, and no split of the batch can change it
 * (algorithms/unpaired-datums.ts). With z = 0 this is APO-zero unpaired (arXiv:2408.06266).
 */
import { div, equal, maximum, mul, sigmoid, sub, type Value, where } from "../graph/index.js";
import type { Loss, LossArguments } from "./loss.js";
import { sumWithin } from "./sums.js";

export const kto: Loss = {
  name: "kto",
  inputs: ["weights", "reference_logprobs", "labels", "kl"],
  optional: { kl: 0 },
  perSequence: ["reference_logprobs", "labels", "kl"],
  defaults: { beta: 0.1, desirable_weight: 1, undesirable_weight: 1 },
  supervisedBy: ["weights"],
  answersIn: "weights",
  refusal: ({ beta }) => (beta! > 0 ? null : `beta is ${beta}, expected a positive number`),
  perToken: (loss) => {
    const { logratio, isDesirable, kl, count } = terms(loss);
    const { beta, desirable_weight, undesirable_weight } = loss.config;
    const value = sigmoid(mul(mul(sub(logratio, kl), sub(mul(isDesirable, 2), 1)), beta!));
    const lambda = where(equal(isDesirable, 1), desirable_weight!, undesirable_weight!);
    return mul(div(mul(sub(1, value), lambda), maximum(count, 1)), loss.inputs["weights"]!);
  },
  // One kind of answer may be missing from a batch, so these are sums with their counts: unpairedMetrics() divides.
  metrics: (loss) => {
    const { logratio, logprob, isDesirable, kl } = terms(loss);
    const isUndesirable = sub(1, isDesirable);
    const reward = mul(logratio, loss.config["beta"]!);
    return {
      "count/chosen:sequence_sum": isDesirable,
      "count/rejected:sequence_sum": isUndesirable,
      "rewards/chosen:sequence_sum": mul(reward, isDesirable),
      "rewards/rejected:sequence_sum": mul(reward, isUndesirable),
      "logps/chosen:sequence_sum": mul(logprob, isDesirable),
      "logps/rejected:sequence_sum": mul(logprob, isUndesirable),
      "kl:sequence_mean": kl,
    };
  },
};

/** Of each token's own datum, [S] each. */
function terms({ trainingLogprobs_S, sequences_S, inputs }: LossArguments) {
  const answer_S = where(equal(inputs["weights"]!, 0), 0, 1);
  const sum = (values_S: Value): Value => sumWithin(sequences_S, mul(values_S, answer_S));
  return {
    logratio: sum(sub(trainingLogprobs_S, inputs["reference_logprobs"]!)),
    logprob: sum(trainingLogprobs_S),
    // Numbers of a datum stand at its first supervised token, so that sums spread them over all.
    isDesirable: sum(inputs["labels"]!),
    kl: sum(inputs["kl"]!),
    count: sumWithin(sequences_S, answer_S),
  };
}
