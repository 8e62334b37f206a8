/** Descriptive statistics of plain numbers. Every function throws on an empty list: there is no mean of nothing. */

export function mean(values: ArrayLike<number>): number {
  requireValues(values, "mean");
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** Standard deviation with `n - ddof` in the denominator (`ddof` 0: population, 1: sample). */
export function standardDeviation(values: ArrayLike<number>, ddof: 0 | 1 = 0): number {
  const centre = mean(values);
  if (values.length <= ddof) {
    throw new RangeError(
      `Cannot take standard deviation: ${values.length} values, expected more than ${ddof}`,
    );
  }
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i]! - centre) ** 2;
  return Math.sqrt(squares / (values.length - ddof));
}

/** Quantile `q` in 0–1 by linear interpolation between order statistics (NumPy's default). */
export function quantile(values: ArrayLike<number>, q: number): number {
  requireValues(values, "quantile");
  const sorted = Float64Array.from(values).sort();
  const position = q * (sorted.length - 1);
  const low = Math.floor(position);
  const high = Math.ceil(position);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (position - low);
}

export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}

function requireValues(values: ArrayLike<number>, what: string): void {
  if (values.length === 0) throw new RangeError(`Cannot take ${what}: 0 values, expected at least 1`);
}
