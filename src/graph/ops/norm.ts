/** Root-mean-square normalisation (Zhang and Sennrich, arXiv:1910.07467, equation 4) and its gradient as one op each. */
import { applyAll, type Op, shapeError, type Value } from "../graph.js";
import { sum } from "./broadcast.js";
import { add, div, mul, reciprocal, sqrt, sub } from "./elementwise.js";
import { asColumn } from "./gather.js";
import { reshape } from "./movement.js";

export interface NormAttributes {
  readonly epsilon: number;
}

/** y = w ∘ x · invStd with invStd = 1/√(mean(x²) + ε), row by row: x [T, C], w [C] → y [T, C], invStd [T]. */
export const RmsNorm = {
  name: "rmsNorm",
  types: (inputs) => {
    const [x, w] = inputs;
    if (x!.shape.length !== 2 || w!.shape.length !== 1 || w!.shape[0] !== x!.shape[1]) {
      throw shapeError("rmsNorm", "weight does not match the last axis", inputs);
    }
    return [
      { shape: x!.shape, dtype: "float32" },
      { shape: [x!.shape[0]!], dtype: "float32" },
    ];
  },
  vjp: ({ inputs: [x, w], outputs: [, invStd], outputGrads: [dy] }) =>
    applyAll(RmsNormGrad, [x!, w!, invStd!, dy!], null),
  decompose: ([x, w], { epsilon }) => {
    const width = x!.shape[1] as number; // the hidden size is always known
    const invStd = reciprocal(sqrt(add(div(sum(mul(x!, x!), [1]), width), epsilon)));
    return [mul(mul(x!, invStd), w!), reshape(invStd, [x!.shape[0]!])];
  },
  lower: {
    cpu: (emit, { inputs, outputs: [y, invStd], attributes: { epsilon } }) => {
      const column = emit.fresh("invStd");
      emit.node(
        "SimplifiedLayerNormalization",
        inputs.map((value) => emit.name(value)),
        [emit.name(y!) || emit.fresh("unused"), column],
        { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
      );
      if (emit.name(invStd!) !== "")
        emit.node("Squeeze", [column, emit.constant("int64", [1], [1])], [emit.name(invStd!)]);
    },
    native: (emit, { inputs, outputs, attributes: { epsilon } }) =>
      emit.node(
        "RmsNorm",
        inputs.map((value) => emit.name(value)),
        outputs.map((value) => emit.name(value) || emit.fresh("unused")),
        { eps: { float: epsilon } },
        "hone",
      ),
  },
  reference: ([x, w], { epsilon }) => {
    const [rows, width] = x!.shape as [number, number];
    const invStd = Float64Array.from({ length: rows }, (_, row) => {
      const values = x!.data.subarray(row * width, (row + 1) * width);
      return 1 / Math.sqrt(values.reduce((total, value) => total + value * value, 0) / width + epsilon);
    });
    return [x!.data.map((value, i) => value * invStd[Math.floor(i / width)]! * w!.data[i % width]!), invStd];
  },
} satisfies Op<NormAttributes>;

/**
 * With x̂ = x·invStd and g = dy∘w:  dx = invStd·(g − x̂·mean(g∘x̂)),  dw = Σ_T dy∘x̂.
 */
export const RmsNormGrad = {
  name: "rmsNormGrad",
  types: ([x, w]) => [
    { shape: x!.shape, dtype: "float32" },
    { shape: w!.shape, dtype: "float32" },
  ],
  decompose: ([x, w, invStd, dy]) => {
    const width = x!.shape[1] as number; // the hidden size is always known
    const normalised = mul(x!, asColumn(invStd!));
    const weighted = mul(dy!, w!);
    const projection = div(sum(mul(weighted, normalised), [1]), width);
    return [
      mul(sub(weighted, mul(normalised, projection)), asColumn(invStd!)),
      reshape(sum(mul(dy!, normalised), [0]), w!.shape),
    ];
  },
  lower: {
    native: (emit, { inputs, outputs }) =>
      emit.node(
        "RmsNormGrad",
        inputs.map((value) => emit.name(value)),
        outputs.map((value, i) => emit.name(value) || (i === 1 ? "" : emit.fresh("unused"))),
        {},
        "hone",
      ),
  },
  reference: ([x, w, invStd, dy]) => {
    const [rows, width] = x!.shape as [number, number];
    const dx = new Float64Array(rows * width);
    const dw = new Float64Array(width);
    for (let row = 0; row < rows; row++) {
      const at = (column: number): number => row * width + column;
      let projection = 0;
      for (let i = 0; i < width; i++)
        projection += (dy!.data[at(i)]! * w!.data[i]! * x!.data[at(i)]! * invStd!.data[row]!) / width;
      for (let i = 0; i < width; i++) {
        const normalised = x!.data[at(i)]! * invStd!.data[row]!;
        dx[at(i)] = invStd!.data[row]! * (dy!.data[at(i)]! * w!.data[i]! - normalised * projection);
        dw[i]! += dy!.data[at(i)]! * normalised;
      }
    }
    return [dx, dw];
  },
} satisfies Op<null>;

/** Rows x [T, C] normalised and weighted by w [C]. */
export function rmsNorm(x: Value, weight: Value, epsilon: number): Value {
  return applyAll(RmsNorm, [x, weight], { epsilon })[0]!;
}
