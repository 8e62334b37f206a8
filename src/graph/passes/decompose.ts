/** Replaces ops that a provider lacks by plainer ones, as often as needed. */
import {
  type Graph,
  type Lowering,
  type Op,
  rebuild,
  topologicalOrder,
  type Value,
  withInputs,
} from "../graph.js";

/** From the plainest provider to the fastest; each can do what those before it can. */
const LOWERINGS: readonly Lowering[] = ["primitives", "cpu", "native"];

/** The lowering rule of `op` for a provider, or undefined where the op must be decomposed. */
export function loweringOf<A>(op: Op<A>, lowering: Lowering): Op<A>["lower"]["primitives"] {
  return LOWERINGS.slice(0, LOWERINGS.indexOf(lowering) + 1)
    .reverse()
    .map((provider) => op.lower[provider])
    .find((rule) => rule !== undefined);
}

export function decompose(graph: Graph, lowering: Lowering): Graph {
  const lowered = (op: Op<unknown>): boolean => op.isLeaf === true || loweringOf(op, lowering) !== undefined;
  const expanded = (outputs: readonly Value[], original: readonly Value[]): readonly Value[] => {
    const { outputs: results } = decompose(
      { outputs: Object.fromEntries(outputs.map((value, i) => [i, value])) },
      lowering,
    );
    return original.map((_, i) => results[i]!);
  };
  const isDone = Object.values(topologicalOrder(Object.values(graph.outputs))).every((node) =>
    lowered(node.op as unknown as Op<unknown>),
  );
  if (isDone) return graph;
  return rebuild(graph, (node, inputs) => {
    const op = node.op as unknown as Op<unknown>;
    if (lowered(op)) return withInputs(node, inputs);
    if (op.decompose === undefined)
      throw new Error(
        `internal: cannot lower "${op.name}" for ${lowering}: it has no rule and no decomposition`,
      );
    return expanded(op.decompose(inputs, node.attributes), node.outputs);
  });
}
