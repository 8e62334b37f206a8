/** Turns `product + c` into a matrix multiplication with a summand, where the product has no other user. */
import { sameShape } from "../dim.js";
import { applyAll, type Graph, nodesOf, type Op, rebuild, type Value, withInputs } from "../graph.js";

export function fuseSummands(graph: Graph): Graph {
  const uses = new Map<Value, number>();
  const count = (value: Value): void => void uses.set(value, (uses.get(value) ?? 0) + 1);
  for (const node of nodesOf(graph)) node.inputs.forEach(count);
  Object.values(graph.outputs).forEach(count);

  return rebuild(graph, (node, inputs) => {
    if (node.op.name !== "add") return withInputs(node, inputs);
    for (const [product, summand, original] of [
      [inputs[1]!, inputs[0]!, node.inputs[1]!],
      [inputs[0]!, inputs[1]!, node.inputs[0]!],
    ] as const) {
      const op = product.node.op as unknown as Op<unknown>;
      const isPlainProduct = op.summand === product.node.inputs.length && product.shape.length === 2;
      if (isPlainProduct && uses.get(original) === 1) {
        const bias = biasOf(summand);
        if (bias === null) continue;
        return applyAll(op, [...product.node.inputs, bias], product.node.attributes);
      }
    }
    return withInputs(node, inputs);
  });
}

/** What Gemm can add: a full matrix, or a vector [N] that was expanded along the rows. */
function biasOf(summand: Value): Value | null {
  const [source] = summand.node.inputs;
  if (summand.node.op.name === "expand")
    return source!.shape.length === 1 && sameShape(source!.shape, summand.shape.slice(1)) ? source! : null;
  return summand;
}
