/** Several products that have an operand in common, so that it is packed once and the threads wake once. */
import { applyAll, type Emitter, type Op, type TypedNode, type Value } from "../graph.js";
import { Matmul, type MatmulAttributes } from "./matmul.js";

export interface MatmulSharingAttributes extends MatmulAttributes {
  /** Whether the shared operand is on the right. */
  readonly sharesRight: boolean;
  /** The number of products. */
  readonly products: number;
  /** Which of them have a summand. */
  readonly summands: readonly number[];
}

/** The native kernel takes no more. */
export const MOST_SHARING = 3;

/**
 * y_i = alpha · op(x) · op(w_i) + c_i, or with the right operand shared alpha · op(w_i) · op(x) + c_i. Inputs: x, every w, then
 * the summands. Made after differentiation, for the native lowering only; the numbers are those of separate products.
 */
export const MatmulSharing: Op<MatmulSharingAttributes> = {
  name: "matmulSharing",
  readsBfloat16: ({ inputs, attributes }, input) => {
    const { sharesRight, products, transA, alpha } = attributes as MatmulSharingAttributes; // a MatmulSharing's
    return !sharesRight && input >= 1 && input <= products && !transA && alpha === 1 && inputs.length > 0;
  },
  types: (inputs, attributes) =>
    separate(inputs, attributes).flatMap((operands) => Matmul.types(operands, plain(attributes))),
  decompose: (inputs, attributes) =>
    separate(inputs, attributes).flatMap((operands) => applyAll(Matmul, operands, plain(attributes))),
  lower: { native: emitNative },
  reference: (inputs, attributes, shapes) =>
    separate(inputs, attributes).flatMap((operands, i) =>
      Matmul.reference(operands, plain(attributes), [shapes[i]!]),
    ),
};

/** For each product: a, b and the summand, if any. */
function separate<T>(
  inputs: readonly T[],
  { sharesRight, products, summands }: MatmulSharingAttributes,
): T[][] {
  return Array.from({ length: products }, (_, i) => {
    const [x, w] = [inputs[0]!, inputs[1 + i]!];
    const summand = summands.indexOf(i);
    return [...(sharesRight ? [w, x] : [x, w]), ...(summand < 0 ? [] : [inputs[1 + products + summand]!])];
  });
}

const plain = ({ transA, transB, alpha }: MatmulSharingAttributes): MatmulAttributes => ({
  transA,
  transB,
  alpha,
});

function emitNative(emit: Emitter, node: TypedNode<MatmulSharingAttributes>): void {
  const { inputs, outputs, attributes } = node;
  const { transA, transB, alpha, sharesRight, products, summands } = attributes;
  const weights = inputs.slice(1, 1 + products);
  const bits = weights.map((value) => emit.bfloat16(value));
  const isMixed = bits.includes(null) && bits.some((name) => name !== null);
  if (isMixed) {
    separate(inputs, attributes).forEach((operands, i) => {
      const product = { op: Matmul, inputs: operands, attributes: plain(attributes), outputs: [outputs[i]!] };
      Matmul.lower.native!(emit, product);
    });
    return;
  }
  const padded = (names: readonly string[]): string[] =>
    Array.from({ length: MOST_SHARING }, (_, i) => names[i] ?? "");
  const nameOf = (value: Value): string => emit.name(value);
  const added = weights.map((_, i) => {
    const summand = summands.indexOf(i);
    return summand < 0 ? "" : nameOf(inputs[1 + products + summand]!);
  });
  const names = (weightNames: readonly string[]): string[] => [
    nameOf(inputs[0]!),
    ...padded(weightNames),
    ...padded(added),
  ];
  const results = outputs.map((value) => nameOf(value) || emit.fresh("unused"));
  if (bits[0] !== null) {
    const read = names(bits.map((name) => name!));
    emit.node("MatMulSharingBf16", read, results, { trans: Number(!transB) }, "hone");
    return;
  }
  const flags = { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } };
  const read = names(weights.map(nameOf));
  emit.node("MatMulSharing", read, results, { ...flags, xIsB: Number(sharesRight) }, "hone");
}
