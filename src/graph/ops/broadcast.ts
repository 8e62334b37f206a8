/**
 * Expanding and reducing, which are each other's transposes. A reduction keeps its axes with size 1, so that the
 * result broadcasts against what it came from.
 */
import { type Shape, sameShape } from "../dim.js";
import { apply, type Op, type ReferenceArray, shapeError, type Value } from "../graph.js";
import { flatIndex, gatherByIndex, unflatten } from "./indexing.js";
import { reshape } from "./movement.js";

/** Repeats axes of size 1, and adds axes in front, until the shape is reached. */
export const Expand = {
  name: "expand",
  types: (inputs, { shape }) => {
    const [x] = inputs;
    const offset = shape.length - x!.shape.length;
    if (offset < 0 || x!.shape.some((size, axis) => size !== 1 && size !== shape[offset + axis])) {
      throw shapeError("expand", `shape does not broadcast to [${shape.join(", ")}]`, inputs);
    }
    return [{ shape, dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x], outputGrads: [dy], attributes: { shape } }) => {
    const offset = shape.length - x!.shape.length;
    const axes = shape.flatMap((size, axis) =>
      axis < offset || (x!.shape[axis - offset] === 1 && size !== 1) ? [axis] : [],
    );
    return [reshape(sum(dy!, axes), x!.shape)];
  },
  lower: {
    primitives: (emit, { inputs: [x], outputs, attributes: { shape } }) =>
      emit.node("Expand", [emit.name(x!), emit.shape(shape)], [emit.name(outputs[0]!)]),
  },
  reference: ([x], _attributes, [shape]) => {
    const offset = shape!.length - x!.shape.length;
    return [
      gatherByIndex(
        shape!,
        (index) =>
          flatIndex(
            x!.shape.map((size, axis) => (size === 1 ? 0 : index[offset + axis]!)),
            x!.shape,
          ),
        x!,
      ),
    ];
  },
} satisfies Op<{ readonly shape: Shape }>;

export function expand(x: Value, shape: Shape): Value {
  return sameShape(x.shape, shape) ? x : apply(Expand, [x], { shape });
}

export interface ReduceAttributes {
  readonly axes: readonly number[];
}

function reduced(
  x: ReferenceArray,
  shape: readonly number[],
  initial: number,
  combine: (a: number, b: number) => number,
): Float64Array {
  const result = new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(initial);
  for (let flat = 0; flat < x.data.length; flat++) {
    const at = flatIndex(
      unflatten(flat, x.shape).map((value, axis) => (shape[axis] === 1 ? 0 : value)),
      shape,
    );
    result[at] = combine(result[at]!, x.data[flat]!);
  }
  return result;
}

const reducedTypes = ([x]: readonly Value[], { axes }: ReduceAttributes) => [
  { shape: x!.shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim)), dtype: x!.dtype },
];

export const Sum = {
  name: "sum",
  types: reducedTypes,
  vjp: ({ inputs: [x], outputGrads: [dy] }) => [expand(dy!, x!.shape)],
  lower: {
    primitives: (emit, { inputs: [x], outputs, attributes: { axes } }) =>
      emit.node(
        "ReduceSum",
        [emit.name(x!), emit.constant("int64", [axes.length], axes)],
        [emit.name(outputs[0]!)],
        { keepdims: 1 },
      ),
  },
  reference: ([x], _attributes, [shape]) => [reduced(x!, shape!, 0, (a, b) => a + b)],
} satisfies Op<ReduceAttributes>;

/** The largest element; used to shift exponents, so no gradient flows. */
export const Max = {
  name: "max",
  types: reducedTypes,
  vjp: () => [null],
  lower: {
    primitives: (emit, { inputs: [x], outputs, attributes: { axes } }) =>
      emit.node(
        "ReduceMax",
        [emit.name(x!), emit.constant("int64", [axes.length], axes)],
        [emit.name(outputs[0]!)],
        { keepdims: 1 },
      ),
  },
  reference: ([x], _attributes, [shape]) => [reduced(x!, shape!, Number.NEGATIVE_INFINITY, Math.max)],
} satisfies Op<ReduceAttributes>;

const positive = (x: Value, axes: readonly number[]): number[] =>
  axes.map((axis) => (axis < 0 ? x.shape.length + axis : axis));

/** Sums over `axes`, which stay with size 1. */
export function sum(x: Value, axes: readonly number[]): Value {
  return axes.length === 0 ? x : apply(Sum, [x], { axes: positive(x, axes) });
}

/** The sum of all elements, of shape []. */
export function sumAll(x: Value): Value {
  return reshape(
    sum(
      x,
      x.shape.map((_, axis) => axis),
    ),
    [],
  );
}

export function max(x: Value, axes: readonly number[]): Value {
  return apply(Max, [x], { axes: positive(x, axes) });
}
