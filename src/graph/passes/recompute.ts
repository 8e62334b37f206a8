/**
 * Gradient checkpointing (Chen et al., arXiv:1604.06174): the backward pass reads only values marked by `checkpoint`,
 * leaves and what the loss itself needs; everything else it computes again from those.
 */
import {
  applyAll,
  type Graph,
  type Node,
  nodesOf,
  type Op,
  topologicalOrder,
  type Value,
  withInputs,
} from "../graph.js";

/**
 * @param graph outputs of the forward pass and gradients
 * @param forwardOutputs names of the outputs that belong to the forward pass
 */
export function recompute(graph: Graph, forwardOutputs: readonly string[]): Graph {
  const forward = new Set(topologicalOrder(forwardOutputs.map((name) => graph.outputs[name]!)));
  const marks = [...forward].filter((node) => node.op.name === "checkpoint");
  // What no mark is built on top of is not worth recomputing: only nodes that some mark depends on are dropped.
  const belowMarks = new Set(topologicalOrder(marks.flatMap((node) => node.outputs)));
  const isKept = (node: Node): boolean =>
    node.op.isLeaf === true || node.op.name === "checkpoint" || !belowMarks.has(node);

  const copies = new Map<Node, readonly Value[]>();
  const copyOf = (node: Node): readonly Value[] => {
    if (isKept(node)) return node.outputs;
    let copy = copies.get(node);
    if (copy === undefined) {
      copy = applyAll(
        node.op as unknown as Op<unknown>,
        node.inputs.map((input) => copyOf(input.node)[input.index]!),
        node.attributes,
      );
      copies.set(node, copy);
    }
    return copy;
  };

  const replaced = new Map<Node, readonly Value[]>();
  for (const node of nodesOf(graph)) {
    if (forward.has(node)) continue;
    const inputs = node.inputs.map(
      (input) => (forward.has(input.node) ? copyOf(input.node) : replaced.get(input.node)!)[input.index]!,
    );
    replaced.set(node, withInputs(node, inputs));
  }
  return {
    outputs: Object.fromEntries(
      Object.entries(graph.outputs).map(([name, value]) => [
        name,
        replaced.get(value.node)?.[value.index] ?? value,
      ]),
    ),
  };
}
