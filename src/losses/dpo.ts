/**
 * Direct preference optimisation (Rafailov et al., arXiv:2305.18290, equation 7), with the loss types of TRL's DPOTrainer.
 *
 *     L = Σ_pairs w Σ_k c_k ℓ_k(d_w, d_l) + c_sft Σ_t −n_t log π_θ(y_t),    d = Σ_t log π_θ(y_t) − log π_ref(y_t)
 *
 * The config holds c_k, the weight of each loss type, by the type's name: `sigmoid` 1 and all others 0 is DPO. Several make
 * MPO (arXiv:2411.10442). n: `nll_weights`, on the chosen answer. ℓ: dpo-types.ts.
 *
 * Differs from TRL: `label_smoothing` acts on `sigmoid` too (conservative DPO), where TRL 1.13 ignores it.
 */
import { add, mul, sub } from "../graph/index.js";
import { DPO_TYPES, type DpoTypeName } from "./dpo-types.js";
import type { Loss, LossArguments } from "./loss.js";
import {
  negativeLogLikelihood,
  PAIRWISE,
  pairMetrics,
  pairsOf,
  refusePairConfig,
  scaled,
  weightedTypes,
} from "./pair-terms.js";

const names = Object.keys(DPO_TYPES) as DpoTypeName[]; // a literal table's own keys
const noType = Object.fromEntries(names.map((name) => [name, 0]));

export const dpo: Loss = {
  name: "dpo",
  ...PAIRWISE,
  inputs: ["weights", "reference_logprobs", "nll_weights"],
  optional: { nll_weights: 0 },
  perSequence: ["reference_logprobs"],
  defaults: { ...noType, beta: 0.1, label_smoothing: 0, sigmoid: 1, sft: 0 },
  supervisedBy: ["weights", "nll_weights"],
  answersIn: "weights",
  required: (config) => (config["sft"] === 0 ? [] : ["nll_weights"]),
  refusal: (config) => {
    if (config["exo_pair"] !== 0 && config["label_smoothing"] === 0)
      return "exo_pair is on and label_smoothing is 0, expected a positive label_smoothing such as 0.001, for its logarithm";
    if ([...names, "sft"].every((name) => config[name] === 0))
      return `no loss type has a weight, expected one of ${[...names, "sft"].join(", ")} above 0`;
    return refusePairConfig(config);
  },
  perToken: (loss) => {
    const { config } = loss;
    const { pairs, logratios } = terms(loss);
    const types = Object.fromEntries(
      names.map((name) => [name, () => DPO_TYPES[name](logratios, config)] as const),
    );
    const pairLoss = weightedTypes(types, config);
    const nll = config["sft"] === 0 ? null : mul(negativeLogLikelihood(loss), config["sft"]!);
    if (pairLoss === null) return nll!; // refused otherwise
    const shares = pairs.shares(pairLoss);
    return nll === null ? shares : add(shares, nll);
  },
  metrics: (loss) => {
    const { pairs, logratios } = terms(loss);
    return pairMetrics(scaled(logratios, loss.config["beta"]!), pairs.sums(loss.trainingLogprobs_S));
  },
};

function terms(loss: LossArguments) {
  const pairs = pairsOf(loss);
  const sums = pairs.sums(sub(loss.trainingLogprobs_S, loss.inputs["reference_logprobs"]!));
  const means = pairs.means(sums);
  return { pairs, logratios: { ...sums, meanDelta: sub(means.chosen, means.rejected) } };
}
