/**
 * Joins `logprobs` with its gradient where the gradient's weights do not depend on the logprobs, as in supervised
 * training: the logits are then computed once, not twice.
 */
import {
  applyAll,
  type Graph,
  type Node,
  nodesOf,
  topologicalOrder,
  type Value,
  withInputs,
} from "../graph.js";
import { Logprobs, LogprobsGrad, LogprobsWithGrad } from "../ops/logprobs.js";

export function fuseLogprobs(graph: Graph): Graph {
  const nodes = nodesOf(graph);
  const partner = new Map<Node, Node>();
  for (const grad of nodes.filter((node) => node.op.name === LogprobsGrad.name)) {
    const forward = grad.inputs[3]!.node;
    const dependsOnForward = topologicalOrder([grad.inputs[4]!]).includes(forward);
    if (forward.op.name === Logprobs.name && !dependsOnForward && !partner.has(forward)) {
      partner.set(forward, grad);
    }
  }
  if (partner.size === 0) return graph;
  // The forward node takes the gradient's input dlogprobs, which may come later in the order: rewrite by demand.
  const done = new Map<Node, readonly Value[]>();
  const rewrite = (node: Node): readonly Value[] => {
    const known = done.get(node);
    if (known !== undefined) return known;
    const forward = node.op.name === LogprobsGrad.name ? node.inputs[3]!.node : node;
    const grad = partner.get(forward);
    let outputs: readonly Value[];
    if (grad !== undefined && (node === forward || node === grad)) {
      const joined = applyAll(LogprobsWithGrad, [...forward.inputs, grad.inputs[4]!].map(rewritten), null);
      done.set(forward, joined.slice(0, 2));
      done.set(grad, joined.slice(2));
      outputs = done.get(node)!;
    } else {
      outputs = withInputs(node, node.inputs.map(rewritten));
    }
    done.set(node, outputs);
    return outputs;
  };
  const rewritten = (value: Value): Value => rewrite(value.node)[value.index]!;
  for (const node of nodes) {
    // Inputs first, so that the recursion stays shallow: only a joined forward node reaches ahead.
    rewrite(node);
  }
  return {
    outputs: Object.fromEntries(
      Object.entries(graph.outputs).map(([name, value]) => [name, rewritten(value)]),
    ),
  };
}
