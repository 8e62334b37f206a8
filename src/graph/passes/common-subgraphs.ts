/** Merges nodes that compute the same thing from the same inputs. */
import { type Graph, type Node, rebuild, type Value, withInputs } from "../graph.js";

export function commonSubgraphs(graph: Graph): Graph {
  const numbers = new Map<Value, number>();
  const seen = new Map<string, readonly Value[]>();
  const number = (value: Value): number => {
    const known = numbers.get(value) ?? numbers.size;
    numbers.set(value, known);
    return known;
  };
  const key = (node: Node, inputs: readonly Value[]): string =>
    `${node.op.name}(${inputs.map(number).join(",")})${JSON.stringify(node.attributes)}`;
  return rebuild(graph, (node, inputs) => {
    const text = key(node, inputs);
    const twin = seen.get(text);
    if (twin !== undefined) return twin;
    const outputs = withInputs(node, inputs);
    seen.set(text, outputs);
    return outputs;
  });
}
