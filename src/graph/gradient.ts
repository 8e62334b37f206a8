/** Reverse mode: one loop over the nodes from the output back. Knows no op by name. */
import { type Op, shapeError, topologicalOrder, type Value } from "./graph.js";
import { add, zeros } from "./ops/elementwise.js";
import { scalar } from "./ops/leaves.js";

/**
 * The gradients of a scalar `output` with respect to `wrt`, as values of the same graph.
 * A value that the output does not depend on gets zeros.
 */
export function gradient(output: Value, wrt: readonly Value[]): Value[] {
  if (output.shape.length !== 0) throw shapeError("gradient", "the output is no scalar", [output]);
  const order = topologicalOrder([output]);
  const needed = new Set(wrt.map((value) => value.node));
  for (const node of order) {
    if (node.inputs.some((input) => needed.has(input.node))) needed.add(node);
  }
  const gradients = new Map<Value, Value>([[output, scalar(1)]]);
  for (const node of order.reverse()) {
    const outputGrads = node.outputs.map((value) => gradients.get(value) ?? null);
    if (!needed.has(node) || node.op.isLeaf || outputGrads.every((grad) => grad === null)) continue;
    const { vjp, name } = node.op as unknown as Op<unknown>;
    if (vjp === undefined) throw new Error(`internal: cannot differentiate through "${name}": it has no vjp`);
    const inputGrads = vjp({
      inputs: node.inputs,
      outputs: node.outputs,
      outputGrads,
      attributes: node.attributes,
    });
    node.inputs.forEach((input, i) => {
      const grad = inputGrads[i];
      if (grad === null || grad === undefined || !needed.has(input.node)) return;
      const sum = gradients.get(input);
      gradients.set(input, sum === undefined ? grad : add(sum, grad));
    });
  }
  return wrt.map((value) => gradients.get(value) ?? zeros(value.shape));
}
