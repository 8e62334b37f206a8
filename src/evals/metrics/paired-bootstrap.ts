/**
 * Percentile bootstrap of the mean difference between two models on the same items.
 *
 *     d_i = b_i − a_i,   D* = mean of n draws of d with replacement,   interval = quantiles (1 ± level)/2 of D*
 *
 * Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; paired as in Koehn, EMNLP 2004.
 * Drawing items, not scores, keeps what both models find hard together. Scores may be any numbers; in their unit.
 */
import { mean, quantile, Random, zip } from "../../base/index.js";

export interface BootstrapOptions {
  readonly seed: number;
  /** @default 10000 */
  readonly resamples?: number;
  /** @default 0.95 */
  readonly level?: number;
}

export interface PairedDifference {
  /** Mean of second − first. */
  readonly difference: number;
  readonly low: number;
  readonly high: number;
  readonly level: number;
  readonly count: number;
  /** Items on which the second is better, and on which it is worse. */
  readonly wins: number;
  readonly losses: number;
}

/** @throws RangeError without items or when the models have different numbers of them */
export function pairedBootstrap(
  first: readonly number[],
  second: readonly number[],
  { seed, resamples = 10_000, level = 0.95 }: BootstrapOptions,
): PairedDifference {
  const differences = Float64Array.from(zip(first, second), ([a, b]) => b - a);
  const count = differences.length;
  const random = new Random(seed);
  const means = Float64Array.from({ length: resamples }, () => {
    let sum = 0;
    for (let draw = 0; draw < count; draw++)
      sum += differences[((random.uint32() * count) / 4294967296) | 0]!;
    return sum / count;
  });
  return {
    difference: mean(differences),
    low: quantile(means, (1 - level) / 2),
    high: quantile(means, (1 + level) / 2),
    level,
    count,
    wins: differences.filter((difference) => difference > 0).length,
    losses: differences.filter((difference) => difference < 0).length,
  };
}
