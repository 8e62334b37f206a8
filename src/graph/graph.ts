/**
 * The intermediate representation: immutable nodes in a directed acyclic graph, shapes fixed when a node is built.
 * Knows what an op is, but no op by name.
 */
import type { DType } from "../tensor/index.js";
import { type Dim, formatShape, type Shape } from "./dim.js";

export interface ValueType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** One output of a node. */
export interface Value extends ValueType {
  readonly node: Node;
  readonly index: number;
}

export interface Node {
  // An op's attributes are typed where the op is defined; a graph holds ops of all kinds.
  readonly op: Op<never>;
  readonly inputs: readonly Value[];
  readonly attributes: unknown;
  readonly outputs: readonly Value[];
}

/** A dense float64 array; integers and bools are held as numbers too. */
export interface ReferenceArray {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Providers for which graphs are emitted, from the plainest to the fastest. `native` includes `cpu` includes `primitives`. */
export type Lowering = "primitives" | "cpu" | "native";

/** What an op's lowering writes to. */
export interface Emitter {
  /** The name of a value that has been emitted. */
  name(value: Value): string;
  /** As `name`, but may look through an `expand`, because the consumer broadcasts by itself. */
  operand(value: Value): string;
  /** The name of the bf16 bits behind a `widen` that this node absorbs, or null. */
  bfloat16(value: Value): string | null;
  /** Adds an ONNX node. Outputs are the op's values or, for intermediates, fresh names. */
  node(
    opType: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes?: OnnxAttributes,
    domain?: string,
  ): void;
  /** A name for an intermediate that is no value of the graph. */
  fresh(hint: string): string;
  /** Declares that `value` is the same tensor as `name`; nothing is copied. */
  alias(value: Value, name: string): void;
  /** The name of a constant, deduplicated. */
  constant(dtype: DType, shape: readonly number[], data: readonly number[]): string;
  /** The name of an int64 vector holding `shape`: a constant, or an input fed at run time when two axes are symbolic. */
  shape(shape: Shape): string;
  /** Runs `body` with an emitter for a subgraph (ONNX Loop); values of the outer graph are visible in it. */
  subgraph(body: (inner: Emitter) => Subgraph): OnnxSubgraph;
}

export interface Subgraph {
  readonly inputs: readonly { readonly name: string; readonly dtype: DType; readonly shape: Shape | null }[];
  readonly outputs: readonly { readonly name: string; readonly dtype: DType; readonly shape: Shape | null }[];
}

/** An encoded GraphProto, opaque to ops. */
export interface OnnxSubgraph {
  readonly subgraph: Uint8Array;
}

export type OnnxAttributes = Readonly<
  Record<string, number | readonly number[] | string | { readonly float: number } | OnnxSubgraph>
>;

/** Arguments of a reverse-mode rule. `outputGrads[i]` is null where no gradient flows into output i. */
export interface VjpArguments<A> {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly outputGrads: readonly (Value | null)[];
  readonly attributes: A;
}

/** One primitive: a name to which four facts are attached (shape rule, vjp, lowering, float64 reference). */
export interface Op<A> {
  readonly name: string;
  /** Output types; throws when inputs do not fit. */
  types(inputs: readonly Value[], attributes: A): readonly ValueType[];
  /** One gradient per input; null where none flows. Absent: the op is not differentiable (integers, comparisons, gradients). */
  readonly vjp?: (arguments_: VjpArguments<A>) => readonly (Value | null)[];
  /** ONNX nodes per provider. A provider without an entry uses the next plainer one, then `decompose`. */
  readonly lower: Partial<Record<Lowering, (emit: Emitter, node: TypedNode<A>) => void>>;
  /** Whether the native kernel takes these sizes; others go the way of plainer providers. @default always */
  readonly fitsKernel?: (inputs: readonly Value[], attributes: A) => boolean;
  /** The same function in terms of plainer ops, for providers that lack it. */
  readonly decompose?: (inputs: readonly Value[], attributes: A) => readonly Value[];
  /** Float64 semantics. `shapes` are the resolved output shapes. */
  reference(
    inputs: readonly ReferenceArray[],
    attributes: A,
    shapes: readonly (readonly number[])[],
  ): readonly Float64Array[];
  /** The ONNX node broadcasts its operands itself, so an `expand` before it costs nothing. */
  readonly broadcasts?: boolean;
  /** Leaves: graph inputs and constants. */
  readonly isLeaf?: boolean;
  /** Index of an optional input that is added to the output, so that a separate addition costs nothing. */
  readonly summand?: number;
  /** Whether the native rule can read an input as bf16 bits instead of having it widened first. */
  readonly readsBfloat16?: (node: Node, input: number, isUsed: (output: Value) => boolean) => boolean;
}

export interface TypedNode<A> extends Omit<Node, "op" | "attributes"> {
  readonly op: Op<A>;
  readonly attributes: A;
}

/** Named results of a computation. */
export interface Graph {
  readonly outputs: Readonly<Record<string, Value>>;
}

/** Builds a node and returns all its outputs. */
export function applyAll<A>(op: Op<A>, inputs: readonly Value[], attributes: A): readonly Value[] {
  const outputs: Value[] = [];
  // Ops are stored without their attribute type; `attributes` beside them always fits.
  const node: Node = { op: op as unknown as Op<never>, inputs, attributes, outputs };
  op.types(inputs, attributes).forEach((type, index) => {
    outputs.push({ node, index, shape: type.shape, dtype: type.dtype });
  });
  return Object.freeze(outputs);
}

/** Builds a node with a single output. */
export function apply<A>(op: Op<A>, inputs: readonly Value[], attributes: A): Value {
  return applyAll(op, inputs, attributes)[0]!;
}

/** Every node that the outputs need, inputs before users, in a fixed order. */
export function topologicalOrder(outputs: readonly Value[]): Node[] {
  const order: Node[] = [];
  const done = new Set<Node>();
  const stack: { node: Node; next: number }[] = [];
  for (const { node: root } of outputs) {
    if (!done.has(root)) stack.push({ node: root, next: 0 });
    while (stack.length > 0) {
      const frame = stack[stack.length - 1]!;
      const input = frame.node.inputs[frame.next++];
      if (input !== undefined) {
        if (!done.has(input.node)) stack.push({ node: input.node, next: 0 });
      } else {
        stack.pop();
        if (!done.has(frame.node)) {
          done.add(frame.node);
          order.push(frame.node);
        }
      }
    }
  }
  return order;
}

export function nodesOf(graph: Graph): Node[] {
  return topologicalOrder(Object.values(graph.outputs));
}

/** Rebuilds a graph from the leaves up; `rewrite` gives the replacement of a node whose inputs are already rebuilt. */
export function rebuild(
  graph: Graph,
  rewrite: (node: Node, inputs: readonly Value[]) => readonly Value[],
): Graph {
  const replaced = new Map<Node, readonly Value[]>();
  for (const node of nodesOf(graph)) {
    replaced.set(
      node,
      rewrite(
        node,
        node.inputs.map((input) => replaced.get(input.node)![input.index]!),
      ),
    );
  }
  return {
    outputs: Object.fromEntries(
      Object.entries(graph.outputs).map(([name, value]) => [name, replaced.get(value.node)![value.index]!]),
    ),
  };
}

/** The node itself where nothing below it changed, else a copy on the new inputs. */
export function withInputs(node: Node, inputs: readonly Value[]): readonly Value[] {
  if (inputs.every((input, i) => input === node.inputs[i])) return node.outputs;
  return applyAll(node.op as unknown as Op<unknown>, inputs, node.attributes);
}

/** "Cannot build matmul: <what>, expected <what> (shapes)": the one form of shape errors. */
export function shapeError(
  op: string,
  found: string,
  inputs: readonly { readonly shape: Shape }[],
): RangeError {
  return new RangeError(
    `Cannot build ${op}: ${found} (inputs ${inputs.map(({ shape }) => formatShape(shape)).join(", ")})`,
  );
}

/** The size of an axis counted from the front, or from the back when negative. */
export function axisSize(value: ValueType, axis: number): Dim {
  const size = value.shape.at(axis);
  if (size === undefined)
    throw new RangeError(`Cannot read axis ${axis} of shape ${formatShape(value.shape)}`);
  return size;
}
