/** How the numbers that a loss reports of tokens become one, as the end of a metric's name says; see `Loss.metrics`. */

const sumOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const meanOf = (values: readonly number[]): number => sumOf(values) / values.length;
const least = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b));
const largest = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b));

const REDUCTIONS: Readonly<Record<string, (values_D_T: readonly (readonly number[])[]) => number>> = {
  mean: (values_D_T) => meanOf(values_D_T.flat()),
  min: (values_D_T) => least(values_D_T.map(least)),
  max: (values_D_T) => largest(values_D_T.map(largest)),
  sum: (values_D_T) => sumOf(values_D_T.flat()),
  sequence_min: (values_D_T) => least(values_D_T.map(meanOf)),
  sequence_max: (values_D_T) => largest(values_D_T.map(meanOf)),
  sequence_mean: (values_D_T) => meanOf(values_D_T.map(meanOf)),
  sequence_sum: (values_D_T) => sumOf(values_D_T.map(meanOf)),
};

/** `values_D_T`: for each datum that has any, the values at its supervised tokens. At least one. */
export function reducedMetric(name: string, values_D_T: readonly (readonly number[])[]): number {
  const reduce = REDUCTIONS[name.slice(name.lastIndexOf(":") + 1)];
  if (reduce === undefined) throw new Error(`internal: metric "${name}" does not say how it is reduced`);
  return reduce(values_D_T);
}
