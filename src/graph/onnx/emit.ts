/** Graph → ONNX model, op by op through the lowering of one provider. Pure: opens nothing, runs nothing. */
import type { DType } from "../../tensor/index.js";
import { isSymbolic, type Shape, sameShape } from "../dim.js";
import {
  type Emitter,
  type Graph,
  type Lowering,
  type Node,
  nodesOf,
  type OnnxAttributes,
  type OnnxSubgraph,
  type Op,
  type Subgraph,
  type TypedNode,
  type Value,
} from "../graph.js";
import { broadcastShape } from "../ops/elementwise.js";
import type { InputAttributes } from "../ops/leaves.js";
import { loweringOf } from "../passes/decompose.js";
import { encodeGraph, encodeModel, type OnnxNode, type OnnxTensor, type OnnxValueInfo } from "./proto.js";

export interface NamedValue {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
}

/** An ONNX model and what a session must be fed to run it. */
export interface OnnxModel {
  readonly bytes: Uint8Array;
  readonly inputs: readonly NamedValue[];
  /** int64 vectors holding resolved shapes, which whoever runs the model computes from the symbols' values. */
  readonly shapeInputs: readonly { readonly name: string; readonly shape: Shape }[];
  readonly outputs: readonly NamedValue[];
}

/** Emits a graph whose every op the provider can lower (`decompose` first). */
export function emitOnnx(graph: Graph, lowering: Lowering): OnnxModel {
  const nodes = nodesOf(graph);
  const emission = new Emission(graph, nodes, lowering);
  for (const node of nodes) emission.visit(node, lowering);
  return emission.finish();
}

class Emission {
  readonly #names = new Map<Value, string>();
  readonly #outputNames = new Map<Value, string>();
  readonly #used = new Set<Value>();
  readonly #materialised = new Set<Value>();
  readonly #throughExpands = new Set<Node>();
  readonly #inputs = new Map<string, NamedValue>();
  readonly #shapeInputs = new Map<string, Shape>();
  readonly #initializers = new Map<string, OnnxTensor>();
  readonly #nodes: OnnxNode[] = [];
  readonly #values: OnnxValueInfo[] = [];
  #counter = 0;

  constructor(
    readonly graph: Graph,
    nodes: readonly Node[],
    lowering: Lowering,
  ) {
    for (const [name, value] of Object.entries(graph.outputs)) {
      if (!this.#outputNames.has(value)) this.#outputNames.set(value, name);
      this.#used.add(value);
      this.#materialised.add(value);
    }
    for (const node of nodes) for (const input of node.inputs) this.#used.add(input);
    const isUsed = (output: Value): boolean => this.#used.has(output);
    for (const node of nodes) {
      const sources = node.inputs.map(beforeExpand);
      const looksThrough =
        node.op.broadcasts === true &&
        sameShape(broadcastShape(sources.map(({ shape }) => shape)), node.outputs[0]!.shape);
      if (looksThrough) this.#throughExpands.add(node);
      const { readsBfloat16 } = node.op;
      node.inputs.forEach((input, i) => {
        const absorbs =
          lowering === "native" &&
          input.node.op.name === "widen" &&
          readsBfloat16?.(node, i, isUsed) === true;
        const isDropped = absorbs || (looksThrough && input.node.op.name === "expand");
        if (!isDropped) this.#materialised.add(input);
      });
    }
  }

  visit(node: Node, lowering: Lowering): void {
    const op = node.op as unknown as Op<unknown>;
    if (op.name === "input") return;
    if ((op.name === "expand" || op.name === "widen") && !this.#materialised.has(node.outputs[0]!)) return;
    const rule = loweringOf(node, lowering);
    if (rule === undefined)
      throw new Error(`internal: cannot emit "${op.name}" for ${lowering}: decompose the graph first`);
    rule(this.#emitter(node, this.#nodes, this.#values), node as unknown as TypedNode<unknown>);
  }

  finish(): OnnxModel {
    for (const [name, value] of Object.entries(this.graph.outputs)) {
      const held = this.#nameOf(value);
      if (held !== name)
        this.#nodes.push({ opType: "Identity", domain: "", inputs: [held], outputs: [name], attributes: {} });
    }
    const inputs = [...this.#inputs.values()];
    const shapeInputs = [...this.#shapeInputs].map(([name, shape]) => ({ name, shape }));
    const outputs = Object.entries(this.graph.outputs).map(([name, { dtype, shape }]) => ({
      name,
      dtype,
      shape,
    }));
    const outputNames = new Set(outputs.map(({ name }) => name));
    return {
      inputs,
      shapeInputs,
      outputs,
      bytes: encodeModel({
        nodes: this.#nodes,
        initializers: [...this.#initializers.values()],
        inputs: [
          ...inputs,
          ...shapeInputs.map(({ name, shape }) => ({ name, dtype: "int64" as const, shape: [shape.length] })),
        ],
        outputs,
        values: this.#values.filter(({ name }) => !outputNames.has(name)),
      }),
    };
  }

  #fresh(hint: string): string {
    return `${hint}_${this.#counter++}`;
  }

  #nameOf(value: Value): string {
    const known = this.#names.get(value);
    if (known !== undefined) return known;
    const { op, attributes } = value.node;
    if (op.name === "input") {
      const { name, dtype, shape } = attributes as InputAttributes; // what Input holds
      this.#inputs.set(name, { name, dtype, shape });
      this.#names.set(value, name);
      return name;
    }
    if (!this.#used.has(value)) return "";
    const name = this.#outputNames.get(value) ?? this.#fresh(op.name);
    this.#names.set(value, name);
    this.#values.push({ name, dtype: value.dtype, shape: value.shape });
    return name;
  }

  #constant(dtype: DType, shape: readonly number[], data: readonly number[]): string {
    const name = `const:${dtype}[${shape.join(",")}]:${data.join(",")}`;
    if (!this.#initializers.has(name)) this.#initializers.set(name, { name, dtype, shape, data });
    return name;
  }

  #shape(shape: Shape): string {
    const symbolic = shape.filter(isSymbolic);
    if (symbolic.length === 0) return this.#constant("int64", [shape.length], shape as readonly number[]); // no symbol left
    const name = `shape:[${shape.join(",")}]`;
    this.#shapeInputs.set(name, shape);
    return name;
  }

  #emitter(node: Node, nodes: OnnxNode[], values: OnnxValueInfo[]): Emitter {
    return {
      name: (value) => this.#nameOf(value),
      operand: (value) => this.#nameOf(this.#throughExpands.has(node) ? beforeExpand(value) : value),
      bfloat16: (value) =>
        value.node.op.name === "widen" && !this.#materialised.has(value)
          ? this.#nameOf(value.node.inputs[0]!)
          : null,
      node: (opType, inputs, outputs, attributes: OnnxAttributes = {}, domain = "") =>
        void nodes.push({ opType, domain, inputs, outputs, attributes }),
      fresh: (hint) => this.#fresh(hint),
      alias: (value, name) => {
        const wanted = this.#outputNames.get(value);
        if (wanted === undefined) this.#names.set(value, name);
        else
          nodes.push({
            opType: "Identity",
            domain: "",
            inputs: [name],
            outputs: [this.#nameOf(value)],
            attributes: {},
          });
      },
      constant: (dtype, shape, data) => this.#constant(dtype, shape, data),
      shape: (shape) => this.#shape(shape),
      subgraph: (body) => this.#subgraph(node, body, values),
    };
  }

  #subgraph(node: Node, body: (inner: Emitter) => Subgraph, values: OnnxValueInfo[]): OnnxSubgraph {
    const nodes: OnnxNode[] = [];
    const { inputs, outputs } = body(this.#emitter(node, nodes, values));
    return { subgraph: encodeGraph({ nodes, initializers: [], inputs, outputs, values: [] }) };
  }
}

function beforeExpand(value: Value): Value {
  return value.node.op.name === "expand" ? value.node.inputs[0]! : value;
}
