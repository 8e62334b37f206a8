/**
 * Rows → datums of the token-mean cross-entropy, and the loss that comes back.
 *
 *     L = −(1/N) Σ_r Σ_t mask_rt · logprob_rt          N = Σ_r Σ_t mask_rt over the whole batch
 *
 * Every datum carries the weights mask/N and the protocol's loss is a plain sum, so however a batch is cut into
 * micro-batches, sums of their gradients are the gradient of L.
 */

import { zip } from "../base/index.js";
import { supervisedCount, type TrainingRow } from "../datasets/index.js";
import {
  type Datum,
  type ForwardBackwardOutput,
  nextTokenDatum,
  type OptimStepOutput,
  type TensorData,
} from "../protocol/index.js";

export const LOSS_FORMULA = "loss = −(1/N) Σ logprob(token) over the N tokens of the batch that have a loss";

export interface CrossEntropyBatch {
  readonly datums: readonly Datum[];
  /** N. */
  readonly supervisedTokens: number;
  /** All tokens, prompts included. */
  readonly tokens: number;
}

/** The datums of one step. `normalizer` is N unless given: 1 makes the loss a sum. */
export function crossEntropyBatch(rows: readonly TrainingRow[], normalizer?: number): CrossEntropyBatch {
  const supervisedTokens = rows.reduce((sum, row) => sum + supervisedCount(row), 0);
  const scale = 1 / (normalizer ?? supervisedTokens);
  return {
    datums: rows.map(({ tokens_T, lossMask_T }) =>
      nextTokenDatum(
        Array.from(tokens_T),
        Array.from(lossMask_T, (bit) => bit * scale),
      ),
    ),
    supervisedTokens,
    tokens: rows.reduce((sum, { tokens_T }) => sum + tokens_T.length, 0),
  };
}

/** The weighted sum that the client reports, or that its logprobs give where it reports none. */
export function lossOf(datums: readonly Datum[], output: ForwardBackwardOutput): number {
  const reported = output.metrics["loss:sum"];
  if (reported !== undefined) return reported;
  return zip(datums, output.lossFnOutputs, "datums and loss outputs").reduce((sum, [datum, outputs]) => {
    const loss = datumLoss(datum, outputs);
    if (loss === undefined) {
      throw new Error(
        "Cannot read loss: the client gave neither the metric loss:sum nor logprobs, expected one of them",
      );
    }
    return sum + loss;
  }, 0);
}

/** What clients call the gradient's norm: the embedded engine, and SkyRL. */
const GRAD_NORM_NAMES = ["grad_norm:mean", "skyrl.ai/grad_norm"];

/** The global norm before clipping, where the client reports one. */
export function gradNormOf(metrics: OptimStepOutput["metrics"]): number | undefined {
  const name = GRAD_NORM_NAMES.find((known) => metrics[known] !== undefined);
  return name === undefined ? undefined : metrics[name];
}

/** The places in `datums` of those whose own loss is not finite, as far as the logprobs tell. */
export function brokenDatums(datums: readonly Datum[], output: ForwardBackwardOutput): number[] {
  return datums.flatMap((datum, i) => {
    const loss = datumLoss(datum, output.lossFnOutputs[i] ?? {});
    return loss === undefined || Number.isFinite(loss) ? [] : [i];
  });
}

function datumLoss(datum: Datum, outputs: Readonly<Record<string, TensorData>>): number | undefined {
  const logprobs_T = outputs["logprobs"]?.data;
  const weights_T = datum.lossFnInputs["weights"]!.data;
  // A token without weight may have no logprob worth the name: 0 · NaN must not count.
  return (
    logprobs_T &&
    weights_T.reduce((sum, weight, t) => (weight === 0 ? sum : sum - weight * logprobs_T[t]!), 0)
  );
}
