/** Pearson's test: how likely counts this far from a distribution are if they were drawn from it. */

/** Cells expected to hold fewer than this are put together: χ² holds for counts that are not small. */
const SMALLEST_EXPECTED = 5;

/**
 * P(χ² ≥ what was measured). 0 when a token of probability 0 was drawn.
 */
export function chiSquareTest(
  counts: readonly number[],
  probabilities: readonly number[],
): { readonly p: number; readonly degreesOfFreedom: number } {
  const draws = counts.reduce((sum, count) => sum + count, 0);
  let [statistic, cells] = [0, 0];
  let rest = { count: 0, expected: 0 };
  const add = (count: number, expected: number): void => {
    statistic += (count - expected) ** 2 / expected;
    cells++;
  };
  for (const [i, probability] of probabilities.entries()) {
    const count = counts[i] ?? 0;
    if (probability === 0 && count > 0) return { p: 0, degreesOfFreedom: 0 };
    const expected = draws * probability;
    if (expected >= SMALLEST_EXPECTED) add(count, expected);
    else rest = { count: rest.count + count, expected: rest.expected + expected };
  }
  if (rest.expected >= SMALLEST_EXPECTED) add(rest.count, rest.expected);
  const degreesOfFreedom = cells - 1;
  if (degreesOfFreedom < 1) throw new RangeError(`Cannot test ${cells} cells, expected at least 2`);
  return { p: upperGamma(degreesOfFreedom / 2, statistic / 2), degreesOfFreedom };
}

/** Regularised upper incomplete gamma function Q(a, x) by Legendre's continued fraction, or the series of P for small x. */
export function upperGamma(a: number, x: number): number {
  if (x <= 0) return 1;
  const scale = Math.exp(a * Math.log(x) - x - logGamma(a));
  if (x < a + 1) {
    let [term, sum] = [1 / a, 1 / a];
    for (let n = 1; n < 10_000 && term > sum * 1e-16; n++) sum += term *= x / (a + n);
    return 1 - scale * sum;
  }
  // Lentz's evaluation of 1/(x+1-a- 1(1-a)/(x+3-a- 2(2-a)/(x+5-a- …
  let b = x + 1 - a;
  let [c, d] = [1e300, 1 / b];
  let fraction = d;
  for (let n = 1; n < 10_000; n++) {
    const numerator = -n * (n - a);
    b += 2;
    d = 1 / (numerator * d + b);
    c = b + numerator / c;
    fraction *= c * d;
    if (Math.abs(c * d - 1) < 1e-16) break;
  }
  return scale * fraction;
}

/** log Γ(a) for a a multiple of 1/2, from Γ(1) = 1 and Γ(1/2) = √π. */
function logGamma(a: number): number {
  let [value, at] = Number.isInteger(a) ? [0, 1] : [Math.log(Math.PI) / 2, 0.5];
  for (; at < a; at++) value += Math.log(at);
  return value;
}
