/**
 * Elementwise arithmetic. In the graph all operands have one shape; the builders below broadcast numbers and
 * smaller shapes by an explicit `expand`, so that undoing a broadcast is the vjp of `expand` and of nothing else.
 */
import { formatShape, type Shape, sameShape } from "../dim.js";
import { apply, type Op, shapeError, type Value, type ValueType } from "../graph.js";
import { ONNX_TYPE } from "../onnx/proto.js";
import { expand } from "./broadcast.js";
import { constant, scalar } from "./leaves.js";

type ElementwiseOp = Op<null>;

function sameTypes(name: string, inputs: readonly Value[]): readonly ValueType[] {
  const [first, ...others] = inputs;
  for (const other of others) {
    if (!sameShape(first!.shape, other.shape))
      throw shapeError(name, "shapes differ, expected equal", inputs);
    if (first!.dtype !== other.dtype)
      throw shapeError(name, `dtypes ${first!.dtype} and ${other.dtype} differ`, inputs);
  }
  return [{ shape: first!.shape, dtype: first!.dtype }];
}

function unary(
  name: string,
  opType: string,
  compute: (x: number) => number,
  derivative: (x: Value, y: Value, dy: Value) => Value,
): ElementwiseOp {
  return {
    name,
    types: (inputs) => sameTypes(name, inputs),
    vjp: ({ inputs: [x], outputs: [y], outputGrads: [dy] }) => [derivative(x!, y!, dy!)],
    lower: {
      primitives: (emit, { inputs, outputs }) =>
        emit.node(opType, [emit.name(inputs[0]!)], [emit.name(outputs[0]!)]),
    },
    reference: ([x]) => [x!.data.map(compute)],
  };
}

function binary(
  name: string,
  opType: string,
  compute: (a: number, b: number) => number,
  derivatives: (a: Value, b: Value, y: Value, dy: Value) => readonly [Value | null, Value | null],
): ElementwiseOp {
  return {
    name,
    broadcasts: true,
    types: (inputs) => sameTypes(name, inputs),
    vjp: ({ inputs: [a, b], outputs: [y], outputGrads: [dy] }) => derivatives(a!, b!, y!, dy!),
    lower: {
      primitives: (emit, { inputs, outputs }) =>
        emit.node(
          opType,
          inputs.map((input) => emit.operand(input)),
          [emit.name(outputs[0]!)],
        ),
    },
    reference: ([a, b]) => [a!.data.map((x, i) => compute(x, b!.data[i]!))],
  };
}

export const Add = binary(
  "add",
  "Add",
  (a, b) => a + b,
  (_a, _b, _y, dy) => [dy, dy],
);
export const Sub = binary(
  "sub",
  "Sub",
  (a, b) => a - b,
  (_a, _b, _y, dy) => [dy, neg(dy)],
);
export const Mul = binary(
  "mul",
  "Mul",
  (a, b) => a * b,
  (a, b, _y, dy) => [mul(dy, b), mul(dy, a)],
);
// d(a/b) = da/b − (a/b)·db/b
export const Div = binary(
  "div",
  "Div",
  (a, b) => a / b,
  (_a, b, y, dy) => [div(dy, b), neg(div(mul(dy, y), b))],
);
// Where the operands tie, the gradient goes to the first, as one subgradient is as good as another.
export const Minimum = binary("minimum", "Min", Math.min, (a, b, _y, dy) => {
  const first = lessOrEqual(a, b);
  return [where(first, dy, 0), where(first, 0, dy)];
});
export const Maximum = binary("maximum", "Max", Math.max, (a, b, _y, dy) => {
  const first = lessOrEqual(b, a);
  return [where(first, dy, 0), where(first, 0, dy)];
});

export const Neg = unary(
  "neg",
  "Neg",
  (x) => -x,
  (_x, _y, dy) => neg(dy),
);
export const Exp = unary("exp", "Exp", Math.exp, (_x, y, dy) => mul(dy, y));
export const Log = unary("log", "Log", Math.log, (x, _y, dy) => div(dy, x));
export const Sqrt = unary("sqrt", "Sqrt", Math.sqrt, (_x, y, dy) => div(mul(dy, 0.5), y));
export const Reciprocal = unary(
  "reciprocal",
  "Reciprocal",
  (x) => 1 / x,
  (_x, y, dy) => neg(mul(dy, mul(y, y))),
);
// σ' = σ(1 − σ)
export const Sigmoid = unary(
  "sigmoid",
  "Sigmoid",
  (x) => 1 / (1 + Math.exp(-x)),
  (_x, y, dy) => mul(dy, mul(y, sub(1, y))),
);
export const Tanh = unary("tanh", "Tanh", Math.tanh, (_x, y, dy) => mul(dy, sub(1, mul(y, y))));

/** The identity, through which no gradient flows. */
export const StopGradient: ElementwiseOp = {
  name: "stopGradient",
  types: (inputs) => sameTypes("stopGradient", inputs),
  vjp: () => [null],
  lower: { primitives: (emit, { inputs, outputs }) => emit.alias(outputs[0]!, emit.name(inputs[0]!)) },
  reference: ([x]) => [x!.data],
};

/** The identity, marking a value that is kept when the backward pass recomputes what lies between marks. */
export const Checkpoint: ElementwiseOp = {
  ...StopGradient,
  name: "checkpoint",
  types: (inputs) => sameTypes("checkpoint", inputs),
  vjp: ({ outputGrads }) => outputGrads,
};

function comparison(name: string, opType: string, compute: (a: number, b: number) => boolean): ElementwiseOp {
  return {
    name,
    broadcasts: true,
    types: (inputs) => [{ shape: sameTypes(name, inputs)[0]!.shape, dtype: "bool" }],
    lower: {
      primitives: (emit, { inputs, outputs }) =>
        emit.node(
          opType,
          inputs.map((input) => emit.operand(input)),
          [emit.name(outputs[0]!)],
        ),
    },
    reference: ([a, b]) => [a!.data.map((x, i) => (compute(x, b!.data[i]!) ? 1 : 0))],
  };
}

export const LessOrEqual = comparison("lessOrEqual", "LessOrEqual", (a, b) => a <= b);
export const Equal = comparison("equal", "Equal", (a, b) => a === b);
export const And = comparison("and", "And", (a, b) => a !== 0 && b !== 0);

export const Where: ElementwiseOp = {
  name: "where",
  broadcasts: true,
  types: ([condition, ...branches]) => {
    if (condition!.dtype !== "bool" || !sameShape(condition!.shape, branches[0]!.shape)) {
      throw shapeError("where", `condition is ${condition!.dtype}, expected bool of the branches' shape`, [
        condition!,
        ...branches,
      ]);
    }
    return sameTypes("where", branches);
  },
  vjp: ({ inputs: [condition], outputGrads: [dy] }) => [
    null,
    where(condition!, dy!, 0),
    where(condition!, 0, dy!),
  ],
  lower: {
    primitives: (emit, { inputs, outputs }) =>
      emit.node(
        "Where",
        inputs.map((input) => emit.operand(input)),
        [emit.name(outputs[0]!)],
      ),
  },
  reference: ([condition, a, b]) => [
    condition!.data.map((chosen, i) => (chosen ? a!.data[i]! : b!.data[i]!)),
  ],
};

/** A conversion between number types; the gradient flows only from float to float. */
export const Cast = {
  name: "cast",
  types: ([x], { dtype }) => [{ shape: x!.shape, dtype }],
  vjp: ({ inputs: [x], outputGrads: [dy] }) => [x!.dtype === "float32" ? dy! : null],
  lower: {
    primitives: (emit, { inputs, outputs, attributes: { dtype } }) =>
      emit.node("Cast", [emit.name(inputs[0]!)], [emit.name(outputs[0]!)], { to: ONNX_TYPE[dtype] }),
  },
  reference: ([x], { dtype }) => [
    dtype === "float32"
      ? x!.data
      : x!.data.map((value) => (dtype === "bool" ? Number(value !== 0) : Math.trunc(value))),
  ],
} satisfies Op<{ readonly dtype: Value["dtype"] }>;

export type Operand = Value | number;

/** The operands expanded to their common shape (NumPy's rule), numbers taking the dtype of the values beside them. */
function broadcast(...operands: readonly Operand[]): Value[] {
  const dtype = operands.find((operand) => typeof operand !== "number")?.dtype ?? "float32";
  const values = operands.map((operand) => (typeof operand === "number" ? scalar(operand, dtype) : operand));
  const shape = broadcastShape(values.map((value) => value.shape));
  return values.map((value) => (sameShape(value.shape, shape) ? value : expand(value, shape)));
}

export function broadcastShape(shapes: readonly Shape[]): Shape {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, i) => {
    const sizes = new Set(
      shapes.map((shape) => shape[shape.length - rank + i] ?? 1).filter((size) => size !== 1),
    );
    if (sizes.size > 1)
      throw new RangeError(
        `Cannot broadcast shapes ${shapes.map(formatShape).join(" and ")}: axis ${i} differs`,
      );
    return [...sizes][0] ?? 1;
  });
}

const applyBinary = (op: ElementwiseOp, a: Operand, b: Operand): Value => apply(op, broadcast(a, b), null);

export const add = (a: Operand, b: Operand): Value => applyBinary(Add, a, b);
export const sub = (a: Operand, b: Operand): Value => applyBinary(Sub, a, b);
export const mul = (a: Operand, b: Operand): Value => applyBinary(Mul, a, b);
export const div = (a: Operand, b: Operand): Value => applyBinary(Div, a, b);
export const minimum = (a: Operand, b: Operand): Value => applyBinary(Minimum, a, b);
export const maximum = (a: Operand, b: Operand): Value => applyBinary(Maximum, a, b);
export const lessOrEqual = (a: Operand, b: Operand): Value => applyBinary(LessOrEqual, a, b);
export const equal = (a: Operand, b: Operand): Value => applyBinary(Equal, a, b);
export const and = (a: Value, b: Value): Value => applyBinary(And, a, b);

export const neg = (x: Value): Value => apply(Neg, [x], null);
export const exp = (x: Value): Value => apply(Exp, [x], null);
export const log = (x: Value): Value => apply(Log, [x], null);
export const sqrt = (x: Value): Value => apply(Sqrt, [x], null);
export const reciprocal = (x: Value): Value => apply(Reciprocal, [x], null);
export const sigmoid = (x: Value): Value => apply(Sigmoid, [x], null);
export const tanh = (x: Value): Value => apply(Tanh, [x], null);
export const stopGradient = (x: Value): Value => apply(StopGradient, [x], null);
export const checkpoint = (x: Value): Value => apply(Checkpoint, [x], null);
export const cast = (x: Value, dtype: Value["dtype"]): Value =>
  x.dtype === dtype ? x : apply(Cast, [x], { dtype });

export function where(condition: Value, a: Operand, b: Operand): Value {
  const [left, right] = broadcast(a, b);
  const shape = broadcastShape([condition.shape, left!.shape]);
  const toShape = (value: Value): Value => (sameShape(value.shape, shape) ? value : expand(value, shape));
  return apply(Where, [toShape(condition), toShape(left!), toShape(right!)], null);
}

/** Numbers between `low` and `high`; no gradient flows where the bound holds. */
export const clamp = (x: Value, low: number, high: number): Value => minimum(maximum(x, low), high);

/** Zeros of any shape, symbolic too. */
export const zeros = (shape: Shape): Value => expand(constant([0], []), shape);
