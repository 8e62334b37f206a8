/** Logarithms of probabilities that would not survive being computed first. */
import { add, div, exp, log, maximum, minimum, mul, neg, sub, tanh, type Value } from "../graph/index.js";

/**
 * −log σ(x) = max(−x, 0) + log(1 + e^−|x|).
 *
 * At x = 0, where every fresh adapter starts, both maxima must take the side of −x: the gradient is then −½, as it is.
 */
export function negativeLogSigmoid(x: Value): Value {
  const minus = neg(x);
  return add(maximum(minus, 0), log(add(exp(neg(maximum(minus, x))), 1)));
}

/**
 * log(1 − eˣ) for x < 0, as log(−2t / (1 − t)) with t = tanh(x/2), which loses nothing near 0.
 * Above −10⁻⁶ it is constant: a float32 mean of logprobs says no more there, and log(0) would be infinite.
 */
export function logOneMinusExp(x: Value): Value {
  const t = tanh(mul(minimum(x, -1e-6), 0.5));
  return log(div(mul(t, -2), sub(1, t)));
}
