/** Draws one token from a model's logits. Knows nothing of sequences, caches or text. */
import type { Random } from "../../base/index.js";
import { type DrawParams, TokenDistribution } from "./distribution.js";
import { logSumExp } from "./normalizer.js";

/** A token and how likely it was, in nats. */
export interface DrawnToken {
  readonly token: number;
  /** Under the distribution drawn from: after penalty, temperature and truncation. Greedy: the raw logprob. */
  readonly logprob: number;
  /** Under softmax(logits), the model as it is. */
  readonly rawLogprob: number;
}

/**
 * Draws from `logits_V` (left as they are). `seen` are the tokens of prompt and completion, read only where there is a
 * repetition penalty; repeats do no harm. One draw takes one `random.uniform()`, a greedy one none.
 */
export type DrawToken = (
  logits_V: Float32Array,
  params: DrawParams,
  seen: Iterable<number>,
  random: Random,
) => DrawnToken;

/**
 * A `DrawToken` with memory of its own for vocabularies of this size: make one and keep it.
 *
 * Temperature 0 takes the greatest penalised logit, of equal ones the lowest id. What is drawn from is then a point mass,
 * whose logprob 0 would say nothing; as vLLM does, the token's raw logprob is reported instead.
 *
 * @throws UserError where the logits hold NaN or +∞, or nothing above -∞: the weights are broken.
 */
export function createDrawToken(vocabularySize: number): DrawToken {
  const distribution = new TokenDistribution(vocabularySize);
  return (logits_V, params, seen, random) => {
    if (logits_V.length !== vocabularySize) {
      throw new RangeError(
        `Cannot draw a token: logits_V has ${logits_V.length} entries, expected ${vocabularySize}`,
      );
    }
    if (params.temperature === 0) {
      const token = argmax(distribution.penalised(logits_V, params.repetitionPenalty, seen));
      const rawLogprob = logits_V[token]! - logSumExp(logits_V);
      return { token, logprob: rawLogprob, rawLogprob };
    }
    distribution.set(logits_V, params, seen);
    const place = drawPlace(distribution, random);
    const token = distribution.tokens[place]!;
    const rawLogprob = logits_V[token]! - distribution.rawLogNormalizer;
    return { token, logprob: distribution.logprobAt(place), rawLogprob };
  };
}

/** The place in the distribution's lists where the running sum of weights passes a uniform share of the total. */
function drawPlace({ weights, count, total }: TokenDistribution, random: Random): number {
  const target = random.uniform() * total;
  let sum = 0;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const weight = weights[i]!;
    if (weight === 0) continue;
    last = i;
    sum += weight;
    if (sum > target) break;
  }
  return last;
}

/** The place of the greatest number; of equal ones the first. */
export function argmax(values: Float32Array): number {
  let best = 0;
  let most = values[0]!;
  for (let id = 1; id < values.length; id++) {
    const value = values[id]!;
    if (!(value > most)) continue;
    most = value;
    best = id;
  }
  return best;
}
