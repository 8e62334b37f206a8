/**
 * The reward model's loss: the chosen answer's score should be the higher one (Bradley and Terry, 1952; InstructGPT,
 * arXiv:2203.02155, equation 1).
 *
 *     L = Σ_pairs w (−log σ(r_w − r_l − m) + c (r_w + r_l)²)
 *
 * m: `margins`, by how much it should be higher (Llama 2, arXiv:2307.09288, equation 2). c: `center_rewards_coefficient`, which pulls
 * the mean of scores to 0 (arXiv:2312.09244), for the first term knows only differences. r: the head's score at the one token of a datum
 * whose weight is not 0.
 */
import { add, lessOrEqual, mul, sub, where } from "../graph/index.js";
import { negativeLogSigmoid } from "./log-sigmoid.js";
import type { Loss, LossArguments } from "./loss.js";
import { PAIRWISE, pairsOf } from "./pair-terms.js";

export const bradleyTerry: Loss = {
  name: "bradley_terry",
  ...PAIRWISE,
  reads: "scores",
  inputs: ["weights", "margins"],
  optional: { margins: 0 },
  perSequence: ["margins"],
  defaults: { center_rewards_coefficient: 0 },
  supervisedBy: ["weights"],
  answersIn: "weights",
  perToken: (loss) => {
    const { pairs, chosen, rejected } = terms(loss);
    const margin = pairs.sums(loss.inputs["margins"]!).chosen;
    const comparison = negativeLogSigmoid(sub(sub(chosen, rejected), margin));
    const center = loss.config["center_rewards_coefficient"]!;
    const total = add(chosen, rejected);
    return pairs.shares(center === 0 ? comparison : add(comparison, mul(mul(total, total), center)));
  },
  metrics: (loss) => {
    const { chosen, rejected } = terms(loss);
    const scores_S = loss.scores_S!;
    return {
      "min_reward:min": scores_S,
      "mean_reward:mean": scores_S,
      "max_reward:max": scores_S,
      "accuracy:sequence_mean": where(lessOrEqual(chosen, rejected), 0, 1),
      "margin:sequence_mean": sub(chosen, rejected),
    };
  },
};

function terms(loss: LossArguments) {
  if (loss.scores_S === undefined) throw new Error("internal: bradley_terry was given no scores");
  const pairs = pairsOf(loss);
  return { pairs, ...pairs.sums(loss.scores_S) };
}
