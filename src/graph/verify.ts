/** What a legal graph is, in code. Tests run it after every pass. */
import { sameShape } from "./dim.js";
import { type Graph, nodesOf, type Op } from "./graph.js";
import { OPS } from "./ops/index.js";
import type { InputAttributes } from "./ops/leaves.js";

/** Throws an `internal:` error naming the first broken rule. */
export function verify(graph: Graph): void {
  const names = new Map<string, unknown>();
  for (const node of nodesOf(graph)) {
    const op = node.op as unknown as Op<unknown>;
    const broken = (what: string): Error => new Error(`internal: illegal graph: ${op.name} ${what}`);
    if (!(op.name in OPS)) throw broken("is not in OPS");
    if (op.isLeaf && node.inputs.length > 0) throw broken("is a leaf with inputs");
    const types = op.types(node.inputs, node.attributes);
    if (types.length !== node.outputs.length)
      throw broken(`has ${node.outputs.length} outputs, expected ${types.length}`);
    node.outputs.forEach((output, i) => {
      if (output.node !== node || output.index !== i) throw broken(`output ${i} belongs to another node`);
      if (output.dtype !== types[i]!.dtype || !sameShape(output.shape, types[i]!.shape))
        throw broken(`output ${i} has another type than its inputs give`);
    });
    if (op.name === "input") {
      const { name } = node.attributes as InputAttributes; // what Input holds
      if (names.has(name)) throw broken(`"${name}" is declared twice`);
      names.set(name, node);
    }
    if (Object.keys(op.lower).length === 0 && op.decompose === undefined && !op.isLeaf)
      throw broken("has neither lowering nor decomposition");
  }
}
