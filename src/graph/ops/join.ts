/** Cutting an axis into pieces and joining pieces along an axis, which are each other's transposes. */
import { isSymbolic, type Shape, sameShape } from "../dim.js";
import { apply, axisSize, type Op, shapeError, type Value } from "../graph.js";
import { expand } from "./broadcast.js";
import { flatIndex, gatherByIndex, unflatten } from "./indexing.js";
import { scalar } from "./leaves.js";

/** Elements `start` up to, not including, `end` of one axis of known size. */
export const Slice = {
  name: "slice",
  types: (inputs, { axis, start, end }) => {
    const size = axisSize(inputs[0]!, axis);
    if (isSymbolic(size) || start < 0 || end > size || start >= end) {
      throw shapeError("slice", `[${start}, ${end}) does not lie in axis ${axis} of size ${size}`, inputs);
    }
    return [
      { shape: inputs[0]!.shape.map((dim, i) => (i === axis ? end - start : dim)), dtype: inputs[0]!.dtype },
    ];
  },
  vjp: ({ inputs: [x], outputGrads: [dy], attributes: { axis, start, end } }) => {
    const padded = (size: number): Value[] =>
      size === 0
        ? []
        : [
            expand(
              scalar(0),
              x!.shape.map((dim, i) => (i === axis ? size : dim)),
            ),
          ];
    const total = axisSize(x!, axis) as number; // checked by `types`
    return [concat([...padded(start), dy!, ...padded(total - end)], axis)];
  },
  lower: {
    primitives: (emit, { inputs: [x], outputs, attributes: { axis, start, end } }) =>
      emit.node(
        "Slice",
        [emit.name(x!), ...[start, end, axis].map((value) => emit.constant("int64", [1], [value]))],
        [emit.name(outputs[0]!)],
      ),
  },
  reference: ([x], { axis, start }, [shape]) => [
    gatherByIndex(
      shape!,
      (index) =>
        flatIndex(
          index.map((at, i) => (i === axis ? at + start : at)),
          x!.shape,
        ),
      x!,
    ),
  ],
} satisfies Op<{ readonly axis: number; readonly start: number; readonly end: number }>;

export function slice(x: Value, axis: number, start: number, end: number): Value {
  const at = axis < 0 ? x.shape.length + axis : axis;
  return start === 0 && end === x.shape[at] ? x : apply(Slice, [x], { axis: at, start, end });
}

/** Joins values along one axis of known sizes. */
export const Concat = {
  name: "concat",
  types: (inputs, { axis }) => {
    const rest = (value: Value): Shape => value.shape.map((dim, i) => (i === axis ? 1 : dim));
    if (
      inputs.some((value) => !sameShape(rest(value), rest(inputs[0]!)) || isSymbolic(axisSize(value, axis)))
    ) {
      throw shapeError("concat", `shapes differ beyond axis ${axis}, or that axis is symbolic`, inputs);
    }
    const total = inputs.reduce((size, value) => size + (axisSize(value, axis) as number), 0); // checked above
    return [{ shape: inputs[0]!.shape.map((dim, i) => (i === axis ? total : dim)), dtype: inputs[0]!.dtype }];
  },
  vjp: ({ inputs, outputGrads: [dy], attributes: { axis } }) => {
    let start = 0;
    return inputs.map((value) => {
      const size = axisSize(value, axis) as number; // checked by `types`
      start += size;
      return slice(dy!, axis, start - size, start);
    });
  },
  lower: {
    primitives: (emit, { inputs, outputs, attributes: { axis } }) =>
      emit.node(
        "Concat",
        inputs.map((value) => emit.name(value)),
        [emit.name(outputs[0]!)],
        { axis },
      ),
  },
  reference: (inputs, { axis }, [shape]) => {
    const owners = inputs.flatMap((input, owner) =>
      Array.from({ length: input.shape[axis]! }, (_, at) => ({ owner, at })),
    );
    return [
      Float64Array.from({ length: shape!.reduce((a, b) => a * b, 1) }, (_, flat) => {
        const index = unflatten(flat, shape!);
        const { owner, at } = owners[index[axis]!]!;
        const source = inputs[owner]!;
        return source.data[
          flatIndex(
            index.map((value, i) => (i === axis ? at : value)),
            source.shape,
          )
        ]!;
      }),
    ];
  },
} satisfies Op<{ readonly axis: number }>;

export function concat(values: readonly Value[], axis: number): Value {
  const at = axis < 0 ? values[0]!.shape.length + axis : axis;
  return values.length === 1 ? values[0]! : apply(Concat, values, { axis: at });
}
