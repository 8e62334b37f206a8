/** The text form of a graph, one node a line, for people and for golden tests. */
import { formatShape } from "./dim.js";
import { type Graph, nodesOf, type Value } from "./graph.js";

/** For instance `%2 = matmul %0 %1 {transB: true}  float32[T, 8]`. */
export function print(graph: Graph): string {
  const numbers = new Map<Value, number>();
  const lines = nodesOf(graph).map((node) => {
    for (const output of node.outputs) numbers.set(output, numbers.size);
    const results = node.outputs.map((output) => `%${numbers.get(output)}`).join(" ");
    const operands = node.inputs.map((input) => ` %${numbers.get(input)}`).join("");
    const types = node.outputs.map(({ dtype, shape }) => `${dtype}${formatShape(shape)}`).join(" ");
    return `${results} = ${node.op.name}${operands}${formatAttributes(node.attributes)}  ${types}`;
  });
  const results = Object.entries(graph.outputs).map(([name, value]) => `${name} = %${numbers.get(value)}`);
  return [...lines, ...results].join("\n");
}

/** Attributes that say something: shapes and dtypes stand at the end of the line, false and 1 are the defaults. */
function formatAttributes(attributes: unknown): string {
  if (attributes === null) return "";
  const shown = Object.entries(attributes as object)
    .filter(
      ([key, value]) =>
        !["shape", "dtype"].includes(key) && value !== false && !(key === "alpha" && value === 1),
    )
    .map(([key, value]) => `${key}: ${Array.isArray(value) ? formatShape(value) : String(value)}`);
  return shown.length === 0 ? "" : ` {${shown.join(", ")}}`;
}
