/** Groups matrix multiplications that have an activation in common into one node. Run it last, for native kernels only. */
import { applyAll, type Graph, type Node, nodesOf, type Op, type Value, withInputs } from "../graph.js";
import type { MatmulAttributes } from "../ops/matmul.js";
import { MatmulSharing, MOST_SHARING } from "../ops/matmul-sharing.js";

/**
 * Only products at the same distance from the leaves are grouped, or such that nothing is computed from: edges lead from one
 * distance to a greater, so groups cannot depend on each other in a circle.
 */
export function shareOperands(graph: Graph): Graph {
  const distances = distancesOf(graph);
  const nodes = [...distances.keys()].sort((a, b) => distances.get(a)! - distances.get(b)!);
  const groups = groupsOf(nodes, distances);
  if (groups.size === 0) return graph;

  const replaced = new Map<Node, readonly Value[]>();
  const rebuilt = (value: Value): Value => replaced.get(value.node)![value.index]!;
  for (const node of nodes) {
    if (replaced.has(node)) continue;
    const group = groups.get(node);
    if (group === undefined) {
      replaced.set(node, withInputs(node, node.inputs.map(rebuilt)));
      continue;
    }
    const outputs = applyAll(MatmulSharing, ...joined(group, rebuilt));
    group.nodes.forEach((member, i) => void replaced.set(member, [outputs[i]!]));
  }
  return {
    outputs: Object.fromEntries(Object.entries(graph.outputs).map(([name, value]) => [name, rebuilt(value)])),
  };
}

interface Group {
  readonly nodes: Node[];
  readonly sharesRight: boolean;
}

/** The longest path from a leaf to each node; infinite where no node uses it. */
function distancesOf(graph: Graph): Map<Node, number> {
  const nodes = nodesOf(graph);
  const used = new Set(nodes.flatMap((node) => node.inputs.map((input) => input.node)));
  const distances = new Map<Node, number>();
  for (const node of nodes) {
    const isUsed = used.has(node);
    const below = node.inputs.map((input) => distances.get(input.node)!);
    distances.set(
      node,
      isUsed ? Math.max(0, ...below.map((distance) => distance + 1)) : Number.POSITIVE_INFINITY,
    );
  }
  return distances;
}

/** Each product's group; products that share nothing have none. */
function groupsOf(nodes: readonly Node[], distances: ReadonlyMap<Node, number>): Map<Node, Group> {
  const groups = new Map<Node, Group>();
  const numbers = new Map<Value, number>();
  for (const sharesRight of [false, true]) {
    const open = new Map<string, Group>();
    for (const node of nodes) {
      if (node.op.name !== "matmul" || groups.has(node) || node.inputs[0]!.shape.length !== 2) continue;
      const shared = node.inputs[Number(sharesRight)]!;
      const other = node.inputs[1 - Number(sharesRight)]!;
      // Weights are shared by products that may be far apart, and their operands would be kept meanwhile.
      if (isWeight(shared)) continue;
      if (!numbers.has(shared)) numbers.set(shared, numbers.size);
      const kind = [numbers.get(shared), distances.get(node), other.node.op.name === "widen"];
      const key = `${kind.join()} ${JSON.stringify(node.attributes)}`;
      const group = open.get(key) ?? { nodes: [], sharesRight };
      group.nodes.push(node);
      if (group.nodes.length === MOST_SHARING) open.delete(key);
      else open.set(key, group);
      if (group.nodes.length === 2) groups.set(group.nodes[0]!, group);
      if (group.nodes.length >= 2) groups.set(node, group);
    }
  }
  return groups;
}

function isWeight({ node }: Value): boolean {
  return (
    node.op.isLeaf === true || node.inputs.every((input) => (input.node.op as Op<never>).isLeaf === true)
  );
}

function joined(
  { nodes, sharesRight }: Group,
  rebuilt: (value: Value) => Value,
): [Value[], Parameters<typeof MatmulSharing.types>[1]] {
  const operands = nodes.map(({ inputs }) => inputs.map(rebuilt));
  const summands = operands.flatMap((inputs, i) => (inputs.length > 2 ? [i] : []));
  return [
    [
      operands[0]![Number(sharesRight)]!,
      ...operands.map((inputs) => inputs[1 - Number(sharesRight)]!),
      ...summands.map((i) => operands[i]![2]!),
    ],
    {
      ...(nodes[0]!.attributes as MatmulAttributes), // a matmul's
      sharesRight,
      products: nodes.length,
      summands,
    },
  ];
}
