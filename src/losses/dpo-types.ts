/**
 * TRL's loss types of DPO, by their names there. With d = log π_θ(y) − log π_ref(y), Δ = d_w − d_l, |y| answer tokens and
 * ε = `label_smoothing`. Each is the loss of one pair.
 */
import { add, div, maximum, mul, neg, type Operand, sigmoid, sub, type Value } from "../graph/index.js";
import type { LossFnConfig } from "../protocol/index.js";
import { negativeLogSigmoid } from "./log-sigmoid.js";

export interface PairLogratios {
  /** d_w and d_l, [S]. */
  readonly chosen: Value;
  readonly rejected: Value;
  /** d_w / |y_w| − d_l / |y_l|, [S]. */
  readonly meanDelta: Value;
}

type DpoType = (logratios: PairLogratios, config: LossFnConfig) => Value;

const square = (x: Value): Value => mul(x, x);
const scaledDelta = ({ chosen, rejected }: PairLogratios, { beta }: LossFnConfig): Value =>
  mul(sub(chosen, rejected), beta!);

export const DPO_TYPES = {
  /** −(1 − ε) log σ(βΔ) − ε log σ(−βΔ): arXiv:2305.18290, equation 7; with ε it is conservative DPO. */
  sigmoid: (logratios, config) => smoothed(scaledDelta(logratios, config), config["label_smoothing"]!),
  /** max(0, 1 − βΔ): SLiC, arXiv:2305.10425. */
  hinge: (logratios, config) => maximum(0, sub(1, scaledDelta(logratios, config))),
  /** (d_w/|y_w| − d_l/|y_l| − 1/2β)²: arXiv:2310.12036, equation 17, with β for its τ and means as its authors took. */
  ipo: ({ meanDelta }, { beta }) => square(sub(meanDelta, 1 / (2 * beta!))),
  /** (−(1 − ε) log σ(βΔ) + ε log σ(−βΔ)) / (1 − 2ε): unbiased where labels are flipped with probability ε; arXiv:2403.00409. */
  robust: (logratios, config) => {
    const [delta, noise] = [scaledDelta(logratios, config), config["label_smoothing"]!];
    const [clean, flipped] = [negativeLogSigmoid(delta), negativeLogSigmoid(neg(delta))];
    return div(sub(mul(clean, 1 - noise), mul(flipped, noise)), 1 - 2 * noise);
  },
  /** −log σ(β (d_w/|y_w| − d_l/|y_l|)): length-normalised DPO, arXiv:2411.15124. */
  sigmoid_norm: ({ meanDelta }, { beta }) => negativeLogSigmoid(mul(meanDelta, beta!)),
  /** KL of σ(βΔ) to [1 − ε, ε]: EXO, arXiv:2402.00856, equation 16. */
  exo_pair: (logratios, config) => {
    const [delta, noise] = [scaledDelta(logratios, config), config["label_smoothing"]!];
    const term = (x: Value, probability: number): Value =>
      mul(sigmoid(x), sub(neg(negativeLogSigmoid(x)), Math.log(probability)));
    return add(term(delta, 1 - noise), term(neg(delta), noise));
  },
  /** −log σ(βd_w) − ½ log σ(−βd_w) − ½ log σ(−βd_l): NCA, arXiv:2402.05369. */
  nca_pair: ({ chosen, rejected }, { beta }) => {
    const [won, lost] = [mul(chosen, beta!), mul(rejected, beta!)];
    const halves = add(negativeLogSigmoid(neg(won)), negativeLogSigmoid(neg(lost)));
    return add(negativeLogSigmoid(won), mul(halves, 0.5));
  },
  /** −log σ(βd_w) − log σ(−βd_l): BCO without its shift, arXiv:2404.04656. */
  bco_pair: ({ chosen, rejected }, { beta }) =>
    add(negativeLogSigmoid(mul(chosen, beta!)), negativeLogSigmoid(mul(rejected, -beta!))),
  /** (d_w − 1/2β)² + (d_l + 1/2β)²: SPPO with hard labels, arXiv:2405.00675. */
  sppo_hard: ({ chosen, rejected }, { beta }) =>
    add(square(sub(chosen, 0.5 / beta!)), square(add(rejected, 0.5 / beta!))),
  /** 1 − σ(βd_w) + σ(βd_l): APO-zero, arXiv:2408.06266, equation 7. */
  apo_zero: ({ chosen, rejected }, { beta }) =>
    add(complement(sigmoid(mul(chosen, beta!))), sigmoid(mul(rejected, beta!))),
  /** σ(βd_w) + 1 − σ(βΔ): APO-down, arXiv:2408.06266, equation 8. */
  apo_down: (logratios, config) =>
    add(sigmoid(mul(logratios.chosen, config["beta"]!)), complement(sigmoid(scaledDelta(logratios, config)))),
} as const satisfies Readonly<Record<string, DpoType>>;

export type DpoTypeName = keyof typeof DPO_TYPES;

/** −(1 − ε) log σ(x) − ε log σ(−x). */
export function smoothed(x: Value, labelSmoothing: number): Value {
  if (labelSmoothing === 0) return negativeLogSigmoid(x);
  return add(mul(negativeLogSigmoid(x), 1 - labelSmoothing), mul(negativeLogSigmoid(neg(x)), labelSmoothing));
}

function complement(x: Operand): Value {
  return sub(1, x);
}
