/**
 * SimPO (Meng et al., arXiv:2405.14734, equation 6): no reference, rewards that are means over tokens, and a target margin.
 *
 *     L = Σ_pairs w · −log σ(β (m_w − m_l) − γ) + cpo_alpha Σ_t −n_t log π_θ(y_t),    m = 1/|y| Σ_t log π_θ(y_t)
 *
 * γ: `simpo_gamma`. The second term, on the chosen answer by `nll_weights`, is not the paper's but TRL's: there SimPO is a
 * loss type of CPOTrainer, whose `cpo_alpha` is 1 until it is set. Ours is 0. `label_smoothing` as in cpo.
 */
import { add, mul, sub } from "../graph/index.js";
import { smoothed } from "./dpo-types.js";
import type { Loss, LossArguments } from "./loss.js";
import {
  negativeLogLikelihood,
  PAIRWISE,
  pairMetrics,
  pairsOf,
  refusePairConfig,
  scaled,
} from "./pair-terms.js";

export const simpo: Loss = {
  name: "simpo",
  ...PAIRWISE,
  inputs: ["weights", "nll_weights"],
  optional: { nll_weights: 0 },
  defaults: { beta: 0.1, label_smoothing: 0, simpo_gamma: 0.5, cpo_alpha: 0 },
  supervisedBy: ["weights", "nll_weights"],
  answersIn: "weights",
  required: (config) => (config["cpo_alpha"] === 0 ? [] : ["nll_weights"]),
  refusal: refusePairConfig,
  perToken: (loss) => {
    const { config } = loss;
    const { pairs, means } = terms(loss);
    const margin = sub(mul(sub(means.chosen, means.rejected), config["beta"]!), config["simpo_gamma"]!);
    const alpha = config["cpo_alpha"]!;
    const shares = pairs.shares(smoothed(margin, config["label_smoothing"]!));
    return alpha === 0 ? shares : add(shares, mul(negativeLogLikelihood(loss), alpha));
  },
  metrics: (loss) => {
    const { means } = terms(loss);
    return {
      ...pairMetrics(scaled(means, loss.config["beta"]!), means),
      "nll_loss:sum": negativeLogLikelihood(loss),
    };
  },
};

function terms(loss: LossArguments) {
  const pairs = pairsOf(loss);
  return { pairs, means: pairs.means(pairs.sums(loss.trainingLogprobs_S)) };
}
