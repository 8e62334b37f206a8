/** Row-major index arithmetic for the float64 references. */
import type { ReferenceArray } from "../graph.js";

/** Row-major position of a multi-index. */
export function flatIndex(index: readonly number[], shape: readonly number[]): number {
  return shape.reduce((flat, size, axis) => flat * size + index[axis]!, 0);
}

/** The multi-index of a row-major position. */
export function unflatten(flat: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length);
  let rest = flat;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = rest % shape[axis]!;
    rest = Math.floor(rest / shape[axis]!);
  }
  return index;
}

/** A new array whose element at each multi-index of `shape` is `x` at the position `source` gives. */
export function gatherByIndex(
  shape: readonly number[],
  source: (index: number[]) => number,
  x: ReferenceArray,
): Float64Array {
  const size = shape.reduce((a, b) => a * b, 1);
  return Float64Array.from({ length: size }, (_, flat) => x.data[source(unflatten(flat, shape))]!);
}
