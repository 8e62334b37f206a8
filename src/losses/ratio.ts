/** The ratio that every off-policy loss starts from. */
import { exp, sub, type Value } from "../graph/index.js";

/** r = π_θ / μ from the logprobs of both, [S]. */
export function importanceRatio(trainingLogprobs_S: Value, samplingLogprobs_S: Value): Value {
  return exp(sub(trainingLogprobs_S, samplingLogprobs_S));
}
