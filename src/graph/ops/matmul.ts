/** Matrix multiplication, with an optional summand so that biases, LoRA and accumulated gradients cost no extra pass. */
import { type Dim, sameShape } from "../dim.js";
import { apply, type Emitter, type Op, shapeError, type TypedNode, type Value } from "../graph.js";
import { sum } from "./broadcast.js";
import { mul } from "./elementwise.js";
import { reshape } from "./movement.js";

export interface MatmulAttributes {
  readonly transA: boolean;
  readonly transB: boolean;
  /** Factor of the product. */
  readonly alpha: number;
}

/** y = alpha · op(a) · op(b) + c over the last two axes; leading axes are equal. c, if any, is [M, N] or [N], and then a, b are matrices. */
export const Matmul: Op<MatmulAttributes> = {
  name: "matmul",
  summand: 2,
  readsBfloat16: ({ inputs, attributes }, input) => {
    const { transA, alpha } = attributes as MatmulAttributes; // a Matmul's
    return input === 1 && !transA && alpha === 1 && inputs[0]!.shape.length === 2;
  },
  types: (inputs, { transA, transB }) => {
    const [a, b, c] = inputs;
    const batch = a!.shape.slice(0, -2);
    if (a!.shape.length < 2 || !sameShape(batch, b!.shape.slice(0, -2))) {
      throw shapeError("matmul", "leading axes differ, expected equal", inputs);
    }
    const [m, inner] = lastTwo(a!, transA);
    const [innerB, n] = lastTwo(b!, transB);
    if (inner !== innerB)
      throw shapeError("matmul", `inner axes ${inner} and ${innerB} differ, expected equal`, inputs);
    if (c !== undefined && (batch.length > 0 || !(sameShape(c.shape, [m, n]) || sameShape(c.shape, [n])))) {
      throw shapeError("matmul", `summand does not fit [${m}, ${n}]`, inputs);
    }
    return [{ shape: [...batch, m, n], dtype: "float32" }];
  },
  vjp: ({ inputs: [a, b, c], outputGrads: [dy], attributes: { transA, transB, alpha } }) => [
    transA
      ? matmul(b!, dy!, { transA: transB, transB: true, alpha })
      : matmul(dy!, b!, { transB: !transB, alpha }),
    transB
      ? matmul(dy!, a!, { transA: true, transB: transA, alpha })
      : matmul(a!, dy!, { transA: !transA, alpha }),
    ...(c === undefined ? [] : [c.shape.length === 1 ? reshape(sum(dy!, [0]), c.shape) : dy!]),
  ],
  lower: {
    primitives: emitPlain,
    cpu: emitFused,
    native: (emit, node) => {
      const { inputs, outputs, attributes } = node;
      const { transA, transB, alpha } = attributes;
      if (inputs[0]!.shape.length > 2) return emitFused(emit, node);
      const bits = emit.bfloat16(inputs[1]!);
      const names = inputs.map((value, i) => (i === 1 && bits !== null ? bits : emit.name(value)));
      const output = [emit.name(outputs[0]!)];
      if (bits !== null) emit.node("MatMulBf16", names, output, { trans: Number(!transB) }, "hone");
      else {
        const flags = { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } };
        emit.node("MatMul", names, output, flags, "hone");
      }
    },
  },
  reference: ([a, b, c], { transA, transB, alpha }, [shape]) => {
    const [m, n] = shape!.slice(-2) as [number, number];
    const inner = a!.shape.at(transA ? -2 : -1)!;
    const batches = shape!.slice(0, -2).reduce((x, y) => x * y, 1);
    const result = new Float64Array(batches * m * n);
    for (let batch = 0; batch < batches; batch++) {
      const [atA, atB] = [batch * m * inner, batch * inner * n];
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let dot = 0;
          for (let k = 0; k < inner; k++) {
            dot +=
              a!.data[atA + (transA ? k * m + i : i * inner + k)]! *
              b!.data[atB + (transB ? j * inner + k : k * n + j)]!;
          }
          const summand = c === undefined ? 0 : c.data[c.shape.length === 1 ? j : i * n + j]!;
          result[(batch * m + i) * n + j] = alpha * dot + summand;
        }
      }
    }
    return [result];
  },
};

function lastTwo(value: Value, transposed: boolean): [Dim, Dim] {
  const [rows, columns] = value.shape.slice(-2) as [Dim, Dim]; // rank is checked by the caller
  return transposed ? [columns, rows] : [rows, columns];
}

/** onnxruntime's own operator, which transposes while it multiplies; with a summand, Gemm. */
function emitFused(emit: Emitter, node: TypedNode<MatmulAttributes>): void {
  const { inputs, outputs, attributes } = node;
  if (inputs.length === 3) {
    emitPlain(emit, node);
    return;
  }
  const { transA, transB, alpha } = attributes;
  emit.node(
    "FusedMatMul",
    inputs.map((value) => emit.name(value)),
    [emit.name(outputs[0]!)],
    { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } },
    "com.microsoft",
  );
}

/** Standard ONNX only: Gemm for matrices, Transpose and MatMul for batches. */
function emitPlain(
  emit: Emitter,
  { inputs, outputs, attributes: { transA, transB, alpha } }: TypedNode<MatmulAttributes>,
): void {
  const names = inputs.map((value) => emit.name(value));
  const output = emit.name(outputs[0]!);
  if (inputs[0]!.shape.length === 2) {
    emit.node("Gemm", names, [output], {
      transA: Number(transA),
      transB: Number(transB),
      alpha: { float: alpha },
    });
    return;
  }
  const rank = inputs[0]!.shape.length;
  const perm = [...Array.from({ length: rank - 2 }, (_, axis) => axis), rank - 1, rank - 2];
  const operands = [transA, transB].map((transposed, i) => {
    if (!transposed) return names[i]!;
    const name = emit.fresh("transposed");
    emit.node("Transpose", [names[i]!], [name], { perm });
    return name;
  });
  if (alpha === 1) {
    emit.node("MatMul", operands, [output]);
    return;
  }
  const product = emit.fresh("product");
  emit.node("MatMul", operands, [product]);
  emit.node("Mul", [product, emit.constant("float32", [], [alpha])], [output]);
}

export function matmul(
  a: Value,
  b: Value,
  options: Partial<MatmulAttributes> & { readonly plus?: Value } = {},
): Value {
  const { transA = false, transB = false, alpha = 1, plus } = options;
  return apply(Matmul, plus === undefined ? [a, b] : [a, b, plus], { transA, transB, alpha });
}

/** x·Wᵀ + bias for rows x [T, in] and a weight stored [out, in], as checkpoints store it. */
export function linear(x: Value, weight: Value, bias?: Value): Value {
  return matmul(x, weight, bias === undefined ? { transB: true } : { transB: true, plus: bias });
}

/** x · factor, for a known factor; no node when it is 1. */
export function scale(x: Value, factor: number): Value {
  return factor === 1 ? x : mul(x, factor);
}
