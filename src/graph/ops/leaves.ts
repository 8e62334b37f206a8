/** The leaves of a graph: inputs fed at run time and small constants stored in the model. */
import type { DType } from "../../tensor/index.js";
import { formatShape, isSymbolic, type Shape } from "../dim.js";
import { apply, type Op, type Value } from "../graph.js";

export interface InputAttributes {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
}

export const Input = {
  name: "input",
  isLeaf: true,
  types: (_inputs, { dtype, shape }) => [{ dtype, shape }],
  vjp: () => [],
  lower: {},
  reference: () => {
    throw new Error("internal: inputs are bound by the evaluator");
  },
} satisfies Op<InputAttributes>;

export interface ConstantAttributes {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

export const Constant = {
  name: "constant",
  isLeaf: true,
  types: (_inputs, { dtype, shape }) => [{ dtype, shape }],
  vjp: () => [],
  lower: {
    primitives: (emit, { outputs, attributes: { dtype, shape, data } }) =>
      emit.alias(outputs[0]!, emit.constant(dtype, shape, data)),
  },
  reference: (_inputs, { data }) => [Float64Array.from(data)],
} satisfies Op<ConstantAttributes>;

/** A tensor fed at run time. Two inputs of one graph must not share a name. */
export function input(name: string, shape: Shape, dtype: DType = "float32"): Value {
  return apply(Input, [], { name, shape, dtype });
}

/** A constant stored in the model; for weights use `input`. */
export function constant(data: readonly number[], shape: readonly number[], dtype: DType = "float32"): Value {
  if (shape.some(isSymbolic) || data.length !== shape.reduce((a, b) => a * b, 1)) {
    throw new RangeError(
      `Cannot build constant: ${data.length} elements do not fill shape ${formatShape(shape)}`,
    );
  }
  return apply(Constant, [], { data, shape, dtype });
}

export function scalar(value: number, dtype: DType = "float32"): Value {
  return constant([value], [], dtype);
}
