/** A dense row-major array on the host, backed by memory that native code may read in place. */
import type { ArrayOf, DType } from "./dtype.js";

export interface HostTensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: ArrayOf[D];
}

/** Number of elements of a shape; 1 for a scalar. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Wraps `data`; throws when its length is not the product of `shape`. */
export function hostTensor<D extends DType>(
  dtype: D,
  shape: readonly number[],
  data: ArrayOf[D],
): HostTensor<D> {
  if (data.length !== sizeOf(shape)) {
    throw new RangeError(
      `Cannot build ${dtype} tensor: ${data.length} elements, expected ${sizeOf(shape)} for shape [${shape.join(", ")}]`,
    );
  }
  return { dtype, shape, data };
}
