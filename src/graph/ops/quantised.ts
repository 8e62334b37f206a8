/**
 * Multiplication by a frozen 4-bit weight. Weights [N, K] are quantised in blocks along K; two columns share a byte,
 * the even one in the low four bits: w[n, k] = (q[n, k] − zero[n, block]) · scale[n, block].
 */
import {
  apply,
  type Emitter,
  type Op,
  type ReferenceArray,
  shapeError,
  type TypedNode,
  type Value,
} from "../graph.js";
import { mul, sub } from "./elementwise.js";
import { matmul } from "./matmul.js";
import { reshape } from "./movement.js";

export interface QuantisedAttributes {
  /** Columns that share a scale. */
  readonly block: number;
}

/** Zero point of symmetric quantisation: values 0 … 15 stand for −8 … 7. */
const SYMMETRIC_ZERO = 8;

function widthOf(packed: { readonly shape: Value["shape"] }): number {
  return 2 * (packed.shape[1] as number); // weights have known shapes
}

function checkWeight(
  name: string,
  inputs: readonly Value[],
  [packed, scales]: readonly Value[],
  block: number,
): void {
  if (
    packed!.dtype !== "uint8" ||
    widthOf(packed!) % block !== 0 ||
    scales!.shape[1] !== widthOf(packed!) / block
  ) {
    throw shapeError(name, `expected packed uint8 [N, K/2] and scales [N, K/${block}]`, inputs);
  }
}

/** packed uint8 [N, K/2], scales [N, K/block], (zeros uint8 [N, K/block]) → w [N, K]. */
export const Dequantise: Op<QuantisedAttributes> = {
  name: "dequantise",
  types: (inputs, { block }) => {
    checkWeight("dequantise", inputs, inputs, block);
    return [{ shape: [inputs[0]!.shape[0]!, widthOf(inputs[0]!)], dtype: "float32" }];
  },
  decompose: ([packed, scales, zeros], { block }) => {
    const [rows, half] = packed!.shape as [number, number];
    const q = reshape(apply(UnpackNibbles, [packed!], null), [rows, (2 * half) / block, block]);
    const perBlock = (x: Value): Value => reshape(x, [rows, (2 * half) / block, 1]);
    const centred =
      zeros === undefined ? sub(q, SYMMETRIC_ZERO) : sub(q, perBlock(apply(BytesToFloat, [zeros], null)));
    return [reshape(mul(centred, perBlock(scales!)), [rows, 2 * half])];
  },
  lower: {},
  reference: ([packed, scales, zeros], { block }) => [referenceWeight(packed!, scales!, zeros, block)],
};

/** uint8 [N, K/2] → float [N, K], values 0 … 15. */
export const UnpackNibbles: Op<null> = {
  name: "unpackNibbles",
  types: ([packed]) => [{ shape: [packed!.shape[0]!, widthOf(packed!)], dtype: "float32" }],
  lower: {
    primitives: (emit, { inputs: [packed], outputs }) => {
      const last = emit.constant("int64", [1], [-1]);
      const halves = nibbles(emit, emit.name(packed!)).map((half) => {
        const name = emit.fresh("pair");
        emit.node("Unsqueeze", [half, last], [name]);
        return name;
      });
      const pairs = emit.fresh("pairs");
      emit.node("Concat", halves, [pairs], { axis: 2 });
      emit.node("Reshape", [pairs, emit.shape(outputs[0]!.shape)], [emit.name(outputs[0]!)]);
    },
  },
  reference: ([packed]) => [
    Float64Array.from({ length: packed!.data.length * 2 }, (_, i) => nibble(packed!, i)),
  ],
};

export const BytesToFloat: Op<null> = {
  name: "bytesToFloat",
  types: ([x]) => [{ shape: x!.shape, dtype: "float32" }],
  lower: {
    primitives: (emit, { inputs, outputs }) =>
      emit.node("Cast", [emit.name(inputs[0]!)], [emit.name(outputs[0]!)], { to: 1 }),
  },
  reference: ([x]) => [x!.data],
};

export interface QuantisedMatmulAttributes extends QuantisedAttributes {
  /** false: x [T, K] → x·wᵀ [T, N].  true: x [T, N] → x·w [T, K]. */
  readonly transposed: boolean;
}

/** x, packed, scales, (zeros) → x·wᵀ or x·w. The weight is frozen: only x has a gradient. */
export const QuantisedMatmul: Op<QuantisedMatmulAttributes> = {
  name: "quantisedMatmul",
  types: (inputs, { block, transposed }) => {
    const [x, packed] = inputs;
    checkWeight("quantisedMatmul", inputs, inputs.slice(1), block);
    const [rows, width] = [packed!.shape[0]!, widthOf(packed!)];
    const [from, to] = transposed ? [rows, width] : [width, rows];
    if (x!.shape.length !== 2 || x!.shape[1] !== from)
      throw shapeError("quantisedMatmul", `x has width ${x!.shape[1]}, expected ${from}`, inputs);
    return [{ shape: [x!.shape[0]!, to], dtype: "float32" }];
  },
  vjp: ({ inputs: [, ...weight], outputGrads: [dy], attributes: { block, transposed } }) => [
    apply(QuantisedMatmul, [dy!, ...weight], { block, transposed: !transposed }),
    ...weight.map(() => null),
  ],
  decompose: ([x, ...weight], { block, transposed }) => [
    matmul(x!, apply(Dequantise, weight, { block }), { transB: !transposed }),
  ],
  lower: {
    cpu: emitByParity,
    native: (emit, { inputs, outputs, attributes: { block, transposed } }) =>
      emit.node(
        "MatMulQ4",
        inputs.map((value) => emit.name(value)),
        [emit.name(outputs[0]!)],
        { block, trans: Number(transposed) },
        "hone",
      ),
  },
  reference: ([x, packed, scales, zeros], { block, transposed }) => {
    const weight = referenceWeight(packed!, scales!, zeros, block);
    const [rows, width] = [packed!.shape[0]!, packed!.shape[1]! * 2];
    const [from, to] = transposed ? [rows, width] : [width, rows];
    const result = new Float64Array(x!.shape[0]! * to);
    for (let t = 0; t < x!.shape[0]!; t++) {
      for (let i = 0; i < to; i++) {
        for (let j = 0; j < from; j++)
          result[t * to + i]! += x!.data[t * from + j]! * weight[transposed ? j * width + i : i * width + j]!;
      }
    }
    return [result];
  },
};

/** Even and odd columns as two products, which saves interleaving the whole weight. */
function emitByParity(
  emit: Emitter,
  { inputs, outputs, attributes: { block, transposed } }: TypedNode<QuantisedMatmulAttributes>,
): void {
  const [x, packed, scales, zeros] = inputs;
  const [rows, half] = packed!.shape as [number, number]; // weights have known shapes
  const piece = (opType: string, from: readonly string[], attributes = {}, domain = ""): string => {
    const name = emit.fresh(opType);
    emit.node(opType, from, [name], attributes, domain);
    return name;
  };
  const last = emit.constant("int64", [1], [-1]);
  const perBlock = (name: string): string => piece("Unsqueeze", [name, last]);
  const zero =
    zeros === undefined
      ? emit.constant("float32", [], [SYMMETRIC_ZERO])
      : perBlock(piece("Cast", [emit.name(zeros)], { to: 1 }));
  const factor = perBlock(emit.name(scales!));
  const [even, odd] = nibbles(emit, emit.name(packed!)).map((q) => {
    const blocks = piece("Reshape", [q, emit.shape([rows, (2 * half) / block, block / 2])]);
    return piece("Reshape", [piece("Mul", [piece("Sub", [blocks, zero]), factor]), emit.shape([rows, half])]);
  }) as [string, string];
  const one = emit.constant("int64", [1], [1]);
  const two = emit.constant("int64", [1], [2]);
  if (transposed) {
    const pairs = [even, odd].map((w) =>
      piece("Unsqueeze", [piece("FusedMatMul", [emit.name(x!), w], {}, "com.microsoft"), two]),
    );
    emit.node(
      "Reshape",
      [piece("Concat", pairs, { axis: 2 }), emit.shape(outputs[0]!.shape)],
      [emit.name(outputs[0]!)],
    );
    return;
  }
  const columns = (start: number): string =>
    piece("Slice", [
      emit.name(x!),
      emit.constant("int64", [1], [start]),
      emit.constant("int64", [1], [2 * half]),
      one,
      two,
    ]);
  const oddProduct = piece("Gemm", [columns(1), odd], { transB: 1 });
  emit.node("Gemm", [columns(0), even, oddProduct], [emit.name(outputs[0]!)], { transB: 1 });
}

/** The low and high four bits of every byte as floats. */
function nibbles(emit: Emitter, packed: string): [string, string] {
  const [lowBits, highBits, low, high] = ["lowBits", "highBits", "low", "high"].map((hint) =>
    emit.fresh(hint),
  ) as [string, string, string, string];
  emit.node("BitwiseAnd", [packed, emit.constant("uint8", [], [15])], [lowBits]);
  emit.node("BitShift", [packed, emit.constant("uint8", [], [4])], [highBits], { direction: "RIGHT" });
  emit.node("Cast", [lowBits], [low], { to: 1 });
  emit.node("Cast", [highBits], [high], { to: 1 });
  return [low, high];
}

function nibble(packed: ReferenceArray, column: number): number {
  const byte = packed.data[Math.floor(column / 2)]!;
  return column % 2 === 0 ? byte % 16 : Math.floor(byte / 16);
}

function referenceWeight(
  packed: ReferenceArray,
  scales: ReferenceArray,
  zeros: ReferenceArray | undefined,
  block: number,
): Float64Array {
  return Float64Array.from({ length: packed.data.length * 2 }, (_, i) => {
    const at = Math.floor(i / block);
    return (nibble(packed, i) - (zeros === undefined ? SYMMETRIC_ZERO : zeros.data[at]!)) * scales.data[at]!;
  });
}

/** A 4-bit weight as graph values. */
export interface QuantisedWeight {
  readonly packed: Value;
  readonly scales: Value;
  readonly zeros?: Value;
  readonly block: number;
}

/** x·wᵀ for x [T, K] and a 4-bit weight [N, K]. */
export function quantisedLinear(x: Value, { packed, scales, zeros, block }: QuantisedWeight): Value {
  return apply(QuantisedMatmul, zeros === undefined ? [x, packed, scales] : [x, packed, scales, zeros], {
    block,
    transposed: false,
  });
}
