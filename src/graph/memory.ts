/** How much memory running a graph needs at its peak, by following which values are alive from node to node. */
import type { DType } from "../tensor/index.js";
import { BYTES_PER_ELEMENT } from "../tensor/index.js";
import { type Bindings, resolveShape } from "./dim.js";
import { type Graph, nodesOf, type Value } from "./graph.js";

/** Ops whose output is their input, or that the emitter leaves out. */
const FREE = new Set(["input", "constant", "reshape", "checkpoint", "stopGradient", "expand"]);

/**
 * Peak bytes of intermediate values and outputs, leaves not counted. Nodes run in the graph's own order and a value
 * is freed after its last use, so this is what a runtime needs that frees memory as soon as it can.
 */
export function peakBytes(graph: Graph, bindings: Bindings): number {
  const nodes = nodesOf(graph);
  const owner = new Map<Value, Value>();
  const ownerOf = (value: Value): Value => owner.get(value) ?? value;
  const lastUse = new Map<Value, number>();
  nodes.forEach((node, i) => {
    for (const input of node.inputs) lastUse.set(ownerOf(input), i);
    if (FREE.has(node.op.name) && node.inputs.length > 0)
      owner.set(node.outputs[0]!, ownerOf(node.inputs[0]!));
  });
  for (const value of Object.values(graph.outputs)) lastUse.set(ownerOf(value), nodes.length);
  const dying = new Map<number, Value[]>();
  for (const [value, at] of lastUse) dying.set(at, [...(dying.get(at) ?? []), value]);

  const bytesOf = (value: Value): number =>
    FREE.has(value.node.op.name)
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

const elementBytes = (dtype: DType): number => BYTES_PER_ELEMENT[dtype];
