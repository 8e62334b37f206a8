/** The oracle: evaluates a graph in float64, one op after the other, by each op's own reference. */
import { bindShapes, resolveShape } from "./dim.js";
import { type Graph, nodesOf, type Op, type ReferenceArray, type Value } from "./graph.js";
import type { InputAttributes } from "./ops/leaves.js";

/** The graph's outputs by name. Throws when an input is missing or does not fit its declared shape. */
export function evaluate(
  graph: Graph,
  inputs: Readonly<Record<string, ReferenceArray>>,
): Record<string, ReferenceArray> {
  const nodes = nodesOf(graph);
  const inputNodes = nodes.filter((node) => node.op.name === "input");
  const named = inputNodes.map((node) => ({ node, attributes: node.attributes as InputAttributes })); // what Input holds
  const bindings = bindShapes(
    named.map(({ attributes: { name, shape } }) => {
      const actual = inputs[name];
      if (actual === undefined) throw new RangeError(`Cannot evaluate graph: input "${name}" is missing`);
      return { name, declared: shape, actual: actual.shape };
    }),
  );
  const values = new Map<Value, ReferenceArray>(
    named.map(({ node, attributes }) => [node.outputs[0]!, inputs[attributes.name]!]),
  );
  for (const node of nodes) {
    if (node.op.name === "input") continue;
    const shapes = node.outputs.map((value) => resolveShape(value.shape, bindings));
    const op = node.op as unknown as Op<unknown>;
    const results = op.reference(
      node.inputs.map((value) => values.get(value)!),
      node.attributes,
      shapes,
    );
    for (const [i, value] of node.outputs.entries())
      values.set(value, { shape: shapes[i]!, data: results[i]! });
  }
  return Object.fromEntries(Object.entries(graph.outputs).map(([name, value]) => [name, values.get(value)!]));
}
