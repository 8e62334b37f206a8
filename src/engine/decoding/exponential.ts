/** eˣ for x ≤ 0, several times as fast as `Math.exp`: the inner loop of every softmax over a vocabulary. */

/** Steps per doubling: x is a multiple of ln 2 / STEPS, looked up, plus a small rest, by Taylor's series. */
const STEPS = 64;
/** Below this eˣ < 1e-19, which no sum over a vocabulary notices; there `Math.exp` is called. */
const SMALLEST = -44;
const SCALE = STEPS / Math.LN2;
const STEP = Math.LN2 / STEPS;
const POWERS = Float64Array.from(
  { length: Math.ceil(-SMALLEST * SCALE) + 1 },
  (_, step) => 2 ** (-step / STEPS),
);

/**
 * eˣ for x ≤ 0 with a relative error below 1e-13; NaN and −∞ as `Math.exp` answers them.
 *
 *     x = -n·ln2/64 + r,  |r| ≤ ln2/128     eˣ = 2^(-n/64) · Σ rⁱ/i!,  i ≤ 4
 */
export function expNonPositive(x: number): number {
  if (!(x >= SMALLEST)) return Math.exp(x);
  const n = (0.5 - x * SCALE) | 0;
  const r = x + n * STEP;
  const rr = r * r;
  return POWERS[n]! * (1 + r + rr * (1 / 2 + r * (1 / 6) + rr * (1 / 24)));
}
