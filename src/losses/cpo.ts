/**
 * Contrastive preference optimisation (Xu et al., arXiv:2401.08417, equation 3): DPO with a uniform reference, and
 * supervised training on the chosen answer.
 *
 *     L = Σ_pairs w Σ_k c_k ℓ_k(s_w − s_l) + cpo_alpha Σ_t −n_t log π_θ(y_t),    s = Σ_t log π_θ(y_t)
 *
 * The config holds c_k for TRL's loss types: `sigmoid` (smoothed by `label_smoothing`), `hinge`, and `ipo`, which takes the
 * mean over an answer's tokens for s. n: `nll_weights`, on the chosen answer. No reference is needed.
 */
import { add, maximum, mul, sub } from "../graph/index.js";
import { smoothed } from "./dpo-types.js";
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

const TYPES = ["sigmoid", "hinge", "ipo"] as const;

export const cpo: Loss = {
  name: "cpo",
  ...PAIRWISE,
  inputs: ["weights", "nll_weights"],
  optional: { nll_weights: 0 },
  defaults: { beta: 0.1, label_smoothing: 0, cpo_alpha: 1, sigmoid: 1, hinge: 0, ipo: 0 },
  supervisedBy: ["weights", "nll_weights"],
  answersIn: "weights",
  required: (config) => (config["cpo_alpha"] === 0 ? [] : ["nll_weights"]),
  refusal: (config) =>
    TYPES.every((name) => config[name] === 0)
      ? `no loss type has a weight, expected one of ${TYPES.join(", ")} above 0`
      : refusePairConfig(config),
  perToken: (loss) => {
    const { config } = loss;
    const { pairs, sums, means } = terms(loss);
    const delta = mul(sub(sums.chosen, sums.rejected), config["beta"]!);
    const pairLoss = weightedTypes(
      {
        sigmoid: () => smoothed(delta, config["label_smoothing"]!),
        hinge: () => maximum(0, sub(1, delta)),
        ipo: () => {
          const gap = sub(sub(means.chosen, means.rejected), 1 / (2 * config["beta"]!));
          return mul(gap, gap);
        },
      } satisfies Record<(typeof TYPES)[number], unknown>,
      config,
    )!; // refused where no type has a weight
    const alpha = config["cpo_alpha"]!;
    const shares = pairs.shares(pairLoss);
    return alpha === 0 ? shares : add(shares, mul(negativeLogLikelihood(loss), alpha));
  },
  metrics: (loss) => {
    const { sums, means } = terms(loss);
    const read = loss.config["ipo"] === 0 ? sums : means;
    return {
      ...pairMetrics(scaled(read, loss.config["beta"]!), read),
      "nll_loss:sum": negativeLogLikelihood(loss),
    };
  },
};

function terms(loss: LossArguments) {
  const pairs = pairsOf(loss);
  const sums = pairs.sums(loss.trainingLogprobs_S);
  return { pairs, sums, means: pairs.means(sums) };
}
