/**
 * ORPO (Hong et al., arXiv:2403.07691, equations 6 and 7): supervised training on the chosen answer, and the log odds ratio.
 *
 *     L = Σ_t −n_t log π_θ(y_t) + Σ_pairs w · −β log σ(log odds_w − log odds_l)
 *     odds = p/(1 − p),    log p = 1/|y| Σ_t log π_θ(y_t)
 *
 * n: `nll_weights`. TRL takes the mean over the tokens of prompt and chosen answer, so prompt tokens may have n ≠ 0 where
 * their weight is 0. β is the paper's λ. No reference is needed.
 */
import { add, mul, neg, sub } from "../graph/index.js";
import { logOneMinusExp, negativeLogSigmoid } from "./log-sigmoid.js";
import type { Loss, LossArguments } from "./loss.js";
import {
  negativeLogLikelihood,
  PAIRWISE,
  pairMetrics,
  pairsOf,
  refusePairConfig,
  scaled,
} from "./pair-terms.js";

export const orpo: Loss = {
  name: "orpo",
  ...PAIRWISE,
  inputs: ["weights", "nll_weights"],
  optional: {},
  defaults: { beta: 0.1 },
  supervisedBy: ["weights", "nll_weights"],
  answersIn: "weights",
  refusal: refusePairConfig,
  perToken: (loss) => {
    const { pairs, logOdds } = terms(loss);
    return add(
      negativeLogLikelihood(loss),
      pairs.shares(mul(negativeLogSigmoid(logOdds), loss.config["beta"]!)),
    );
  },
  metrics: (loss) => {
    const { means, logOdds } = terms(loss);
    return {
      ...pairMetrics(scaled(means, loss.config["beta"]!), means),
      "nll_loss:sum": negativeLogLikelihood(loss),
      "log_odds_chosen:sequence_mean": logOdds,
      "log_odds_ratio:sequence_mean": neg(negativeLogSigmoid(logOdds)),
    };
  },
};

function terms(loss: LossArguments) {
  const pairs = pairsOf(loss);
  const means = pairs.means(pairs.sums(loss.trainingLogprobs_S));
  const logOdds = sub(
    sub(means.chosen, means.rejected),
    sub(logOneMinusExp(means.chosen), logOneMinusExp(means.rejected)),
  );
  return { pairs, means, logOdds };
}
