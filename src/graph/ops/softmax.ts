/** Softmax over the last axis. */
import { apply, type Op, type ReferenceArray, type Value } from "../graph.js";
import { max, sum } from "./broadcast.js";
import { add, exp, log, mul, sub } from "./elementwise.js";

export const Softmax = {
  name: "softmax",
  types: ([x]) => [{ shape: x!.shape, dtype: "float32" }],
  // dx = y ∘ (dy − Σ dy∘y)
  vjp: ({ outputs: [y], outputGrads: [dy] }) => [mul(y!, sub(dy!, sum(mul(dy!, y!), [-1])))],
  lower: {
    primitives: (emit, { inputs, outputs }) =>
      emit.node("Softmax", [emit.name(inputs[0]!)], [emit.name(outputs[0]!)], { axis: -1 }),
  },
  reference: ([x]) => [
    mapRows(x!, (row) => {
      const shift = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      const powers = row.map((value) => Math.exp(value - shift));
      const total = powers.reduce((a, b) => a + b, 0);
      return powers.map((value) => value / total);
    }),
  ],
} satisfies Op<null>;

export function softmax(x: Value): Value {
  return apply(Softmax, [x], null);
}

/** log Σ exp over the last axis, which stays with size 1; shifted by the maximum, so that it cannot overflow. */
export function logSumExp(x: Value): Value {
  const shift = max(x, [-1]);
  return add(log(sum(exp(sub(x, shift)), [-1])), shift);
}

function mapRows(x: ReferenceArray, f: (row: Float64Array) => Float64Array): Float64Array {
  const width = x.shape.at(-1)!;
  const result = new Float64Array(x.data.length);
  for (let start = 0; start < x.data.length; start += width)
    result.set(f(x.data.subarray(start, start + width)), start);
  return result;
}
