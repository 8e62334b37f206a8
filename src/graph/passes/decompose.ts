/** Replaces ops that a provider lacks by plainer ones, as often as needed. */
import {
  type Graph,
  type Lowering,
  type Node,
  type Op,
  rebuild,
  topologicalOrder,
  type Value,
  withInputs,
} from "../graph.js";

/** From the plainest provider to the fastest; each can do what those before it can. */
const LOWERINGS: readonly Lowering[] = ["primitives", "cpu", "native"];

/** The lowering rule of a node for a provider, or undefined where its op must be decomposed. */
export function loweringOf(
  { op: typed, inputs, attributes }: Pick<Node, "op" | "inputs" | "attributes">,
  lowering: Lowering,
): Op<unknown>["lower"]["primitives"] {
  const op = typed as unknown as Op<unknown>; // its attributes are beside it
  return LOWERINGS.slice(0, LOWERINGS.indexOf(lowering) + 1)
    .reverse()
    .filter((provider) => provider !== "native" || op.fitsKernel?.(inputs, attributes) !== false)
    .map((provider) => op.lower[provider])
    .find((rule) => rule !== undefined);
}

export function decompose(graph: Graph, lowering: Lowering): Graph {
  const lowered = (node: Node): boolean =>
    node.op.isLeaf === true || loweringOf(node, lowering) !== undefined;
  const expanded = (outputs: readonly Value[], original: readonly Value[]): readonly Value[] => {
    const { outputs: results } = decompose(
      { outputs: Object.fromEntries(outputs.map((value, i) => [i, value])) },
      lowering,
    );
    return original.map((_, i) => results[i]!);
  };
  if (topologicalOrder(Object.values(graph.outputs)).every(lowered)) return graph;
  return rebuild(graph, (node, inputs) => {
    const op = node.op as unknown as Op<unknown>;
    if (lowered(node)) return withInputs(node, inputs);
    if (op.decompose === undefined)
      throw new Error(
        `internal: cannot lower "${op.name}" for ${lowering}: it has no rule and no decomposition`,
      );
    return expanded(op.decompose(inputs, node.attributes), node.outputs);
  });
}
