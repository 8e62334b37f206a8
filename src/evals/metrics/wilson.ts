/**
 * Wilson's score interval of a proportion.
 *
 *     ( p̂ + z²/2n ± z √( p̂(1 − p̂)/n + z²/4n² ) ) / (1 + z²/n)
 *
 * p̂ = correct / count, z the normal quantile of the level. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
 * Holds its level for few samples and near 0 and 1, where p̂ ± z·σ does not.
 */

/** A fraction of right answers with its interval. */
export interface Proportion {
  readonly correct: number;
  readonly count: number;
  /** correct / count; 0 of nothing is 0. */
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The 97.5 % quantile of the normal distribution, for a level of 95 %. */
export const Z_95 = 1.959963984540054;

/** Of nothing, the interval is all of 0–1. */
export function wilsonInterval(correct: number, count: number, z = Z_95): Proportion {
  if (!(correct >= 0 && correct <= count)) {
    throw new RangeError(`Cannot take a proportion: ${correct} of ${count}, expected 0 to ${count}`);
  }
  if (count === 0) return { correct, count, value: 0, low: 0, high: 1 };
  const value = correct / count;
  const shrink = 1 + (z * z) / count;
  const centre = value + (z * z) / (2 * count);
  const half = z * Math.sqrt((value * (1 - value)) / count + (z * z) / (4 * count * count));
  return {
    correct,
    count,
    value,
    low: Math.max(0, (centre - half) / shrink),
    high: Math.min(1, (centre + half) / shrink),
  };
}
