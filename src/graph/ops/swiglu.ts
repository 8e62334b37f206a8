/** The gated activation of Llama-like models (Shazeer, arXiv:2002.05202, equation 6): silu(gate) ∘ up. */
import { apply, applyAll, type Op, shapeError, type Value } from "../graph.js";
import { add, mul, sigmoid, sub } from "./elementwise.js";

const silu = (x: number): number => x / (1 + Math.exp(-x));

export const Swiglu = {
  name: "swiglu",
  types: (inputs) => {
    const [gate, up] = inputs;
    if (gate!.shape.length !== 2 || gate!.shape.some((dim, axis) => dim !== up!.shape[axis]))
      throw shapeError("swiglu", "shapes differ", inputs);
    return [{ shape: gate!.shape, dtype: "float32" }];
  },
  vjp: ({ inputs: [gate, up], outputGrads: [dy] }) => applyAll(SwigluGrad, [gate!, up!, dy!], null),
  decompose: ([gate, up]) => [mul(mul(gate!, sigmoid(gate!)), up!)],
  lower: {
    cpu: (emit, { inputs: [gate, up], outputs }) => {
      const activated = emit.fresh("silu");
      emit.node("QuickGelu", [emit.name(gate!)], [activated], { alpha: { float: 1 } }, "com.microsoft");
      emit.node("Mul", [activated, emit.name(up!)], [emit.name(outputs[0]!)]);
    },
    native: (emit, { inputs, outputs }) =>
      emit.node(
        "Swiglu",
        inputs.map((value) => emit.name(value)),
        [emit.name(outputs[0]!)],
        {},
        "hone",
      ),
  },
  reference: ([gate, up]) => [gate!.data.map((value, i) => silu(value) * up!.data[i]!)],
} satisfies Op<null>;

/** With σ = sigmoid(gate):  dgate = dy∘up∘σ∘(1 + gate∘(1 − σ)),  dup = dy∘gate∘σ. */
export const SwigluGrad = {
  name: "swigluGrad",
  types: ([gate]) => [
    { shape: gate!.shape, dtype: "float32" },
    { shape: gate!.shape, dtype: "float32" },
  ],
  decompose: ([gate, up, dy]) => {
    const gating = sigmoid(gate!);
    const activated = mul(gate!, gating);
    return [mul(mul(dy!, up!), add(gating, mul(activated, sub(1, gating)))), mul(dy!, activated)];
  },
  lower: {
    native: (emit, { inputs, outputs }) =>
      emit.node(
        "SwigluGrad",
        inputs.map((value) => emit.name(value)),
        outputs.map((value) => emit.name(value) || emit.fresh("unused")),
        {},
        "hone",
      ),
  },
  reference: ([gate, up, dy]) => [
    gate!.data.map((x, i) => {
      const gating = 1 / (1 + Math.exp(-x));
      return dy!.data[i]! * up!.data[i]! * gating * (1 + x * (1 - gating));
    }),
    gate!.data.map((x, i) => dy!.data[i]! * silu(x)),
  ],
} satisfies Op<null>;

/** silu(gate) ∘ up for gate, up [T, F]. */
export function swiglu(gate: Value, up: Value): Value {
  return apply(Swiglu, [gate, up], null);
}
