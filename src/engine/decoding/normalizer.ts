/** Sums over a vocabulary: the greatest logit, and the logarithm of the softmax's denominator. */
import { UserError } from "../../base/index.js";
import { expNonPositive } from "./exponential.js";

/** The greatest of `values`, NaN left out; -Infinity of none. */
export function greatest(values: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value > most) most = value;
  }
  return most;
}

/**
 * log Σ eˣ over the vocabulary, in float64: what turns a logit into a raw logprob. `most` is the greatest logit.
 *
 * @throws UserError where the logits hold NaN or +Infinity, or nothing above -Infinity: the weights are broken
 */
export function logSumExp(logits_V: Float32Array, most = greatest(logits_V)): number {
  let sum = 0;
  for (let id = 0; id < logits_V.length; id++) sum += expNonPositive(logits_V[id]! - most);
  return logNormalizer(logits_V, most, sum);
}

/** The same from the sum of exp(logit - most). @throws UserError as `logSumExp` does */
export function logNormalizer(logits_V: Float32Array, most: number, sum: number): number {
  const result = most + Math.log(sum);
  if (Number.isFinite(result)) return result;
  const id = logits_V.findIndex((logit) => !(logit < Number.POSITIVE_INFINITY));
  const found = id < 0 ? "every logit is -Infinity" : `the logit of token ${id} is ${logits_V[id]}`;
  throw new UserError(
    `Cannot draw a token: ${found}, expected finite numbers. The model's weights are broken: take an earlier checkpoint`,
  );
}
