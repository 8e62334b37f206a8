/** How much memory running a graph needs at its peak, by following which values are alive from node to node. */
import type { DType } from "../tensor/index.js";
import { BYTES_PER_ELEMENT } from "../tensor/index.js";
import { type Bindings, resolveShape } from "./dim.js";
import { type Graph, type Node, nodesOf, type Value } from "./graph.js";

/** Ops whose output is their input, or that the emitter leaves out. */
const FREE = new Set(["input", "constant", "reshape", "checkpoint", "stopGradient", "expand", "widen"]);

/**
 * Peak bytes of intermediate values and outputs, leaves not counted. Nodes run in onnxruntime's order and a value is
 * freed after its last use, so this is what a runtime needs that wastes nothing. `outputsElsewhere` leaves out outputs,
 * for a runtime that writes them where the caller keeps them.
 */
export function peakBytes(
  graph: Graph,
  bindings: Bindings,
  { outputsElsewhere = false }: { readonly outputsElsewhere?: boolean } = {},
): number {
  const nodes = executionOrder(graph);
  const owner = new Map<Value, Value>();
  const ownerOf = (value: Value): Value => owner.get(value) ?? value;
  const lastUse = new Map<Value, number>();
  nodes.forEach((node, i) => {
    for (const input of node.inputs) lastUse.set(ownerOf(input), i);
    if (FREE.has(node.op.name) && node.inputs.length > 0)
      owner.set(node.outputs[0]!, ownerOf(node.inputs[0]!));
  });
  const outputs = new Set(Object.values(graph.outputs).map(ownerOf));
  for (const value of outputs) lastUse.set(value, nodes.length);
  const dying = new Map<number, Value[]>();
  for (const [value, at] of lastUse) dying.set(at, [...(dying.get(at) ?? []), value]);

  const bytesOf = (value: Value): number =>
    FREE.has(value.node.op.name) || (outputsElsewhere && outputs.has(value))
      ? 0
      : elementBytes(value.dtype) * resolveShape(value.shape, bindings).reduce((a, b) => a * b, 1);
  let alive = 0;
  let peak = 0;
  nodes.forEach((node, i) => {
    for (const value of node.outputs) if (lastUse.has(value)) alive += bytesOf(value);
    peak = Math.max(peak, alive);
    for (const value of dying.get(i) ?? []) alive -= bytesOf(value);
  });
  return peak;
}

/**
 * The order in which onnxruntime runs the emitted model (core/graph/graph.cc, `ReverseDFSFrom`): depth first from the
 * nodes without users, the one emitted last first, and of a node's inputs the one emitted last first.
 */
function executionOrder(graph: Graph): Node[] {
  const emitted = new Map(nodesOf(graph).map((node, place) => [node, place]));
  const used = new Set([...emitted.keys()].flatMap((node) => node.inputs.map((input) => input.node)));
  const stack = [...emitted.keys()]
    .filter((node) => !used.has(node))
    .map((node) => ({ node, isDone: false }));
  const seen = new Set<Node>();
  const order: Node[] = [];
  for (let entry = stack.pop(); entry !== undefined; entry = stack.pop()) {
    const { node, isDone } = entry;
    if (isDone) order.push(node);
    if (isDone || seen.has(node)) continue;
    seen.add(node);
    stack.push({ node, isDone: true });
    const inputs = node.inputs.map((input) => input.node).sort((a, b) => emitted.get(a)! - emitted.get(b)!);
    for (const input of inputs) if (!seen.has(input)) stack.push({ node: input, isDone: false });
  }
  return order;
}

const elementBytes = (dtype: DType): number => BYTES_PER_ELEMENT[dtype];
