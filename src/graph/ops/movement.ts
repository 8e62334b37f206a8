/** Ops that only rename or reorder elements: reshape and transpose. */
import { multiplyDims, type Shape, sameShape, sizeOfShape } from "../dim.js";
import { apply, axisSize, type Op, shapeError, type Value } from "../graph.js";
import { flatIndex, gatherByIndex } from "./indexing.js";

export const Reshape = {
  name: "reshape",
  types: (inputs, { shape }) => {
    const [x] = inputs;
    if (sizeOfShape(x!.shape) !== sizeOfShape(shape)) {
      throw shapeError(
        "reshape",
        `${sizeOfShape(x!.shape)} elements do not fill [${shape.join(", ")}]`,
        inputs,
      );
    }
    return [{ shape, dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x], outputGrads: [dy] }) => [reshape(dy!, x!.shape)],
  lower: {
    primitives: (emit, { inputs: [x], outputs, attributes: { shape } }) =>
      emit.node("Reshape", [emit.name(x!), emit.shape(shape)], [emit.name(outputs[0]!)]),
  },
  reference: ([x]) => [x!.data],
} satisfies Op<{ readonly shape: Shape }>;

export function reshape(x: Value, shape: Shape): Value {
  return sameShape(x.shape, shape) ? x : apply(Reshape, [x], { shape });
}

export const Transpose = {
  name: "transpose",
  types: (inputs, { permutation }) => {
    const [x] = inputs;
    if (
      [...permutation].sort((a, b) => a - b).some((axis, i) => axis !== i) ||
      permutation.length !== x!.shape.length
    ) {
      throw shapeError("transpose", `[${permutation.join(", ")}] is no permutation of the axes`, inputs);
    }
    return [{ shape: permutation.map((axis) => axisSize(x!, axis)), dtype: x!.dtype }];
  },
  vjp: ({ outputGrads: [dy], attributes: { permutation } }) => [
    transpose(
      dy!,
      permutation.map((_, axis) => permutation.indexOf(axis)),
    ),
  ],
  lower: {
    primitives: (emit, { inputs: [x], outputs, attributes: { permutation } }) =>
      emit.node("Transpose", [emit.name(x!)], [emit.name(outputs[0]!)], { perm: permutation }),
  },
  reference: ([x], { permutation }, [shape]) => {
    const source = (index: readonly number[]): number[] =>
      permutation.map((_, axis) => index[permutation.indexOf(axis)]!);
    return [gatherByIndex(shape!, (index) => flatIndex(source(index), x!.shape), x!)];
  },
} satisfies Op<{ readonly permutation: readonly number[] }>;

export function transpose(x: Value, permutation: readonly number[]): Value {
  return permutation.every((axis, i) => axis === i) ? x : apply(Transpose, [x], { permutation });
}

/** Joins axes `from` up to, not including, `to` into one. */
export function flatten(x: Value, from: number, to: number): Value {
  return reshape(x, [
    ...x.shape.slice(0, from),
    multiplyDims(...x.shape.slice(from, to)),
    ...x.shape.slice(to),
  ]);
}
