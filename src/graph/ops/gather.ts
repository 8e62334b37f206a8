/** Reading rows and picking columns by index, and the scatters that are their transposes. Indices are int64. */
import type { Dim } from "../dim.js";
import { apply, axisSize, type Emitter, type Op, shapeError, type TypedNode, type Value } from "../graph.js";
import { reshape } from "./movement.js";

/** Rows of `table` [R, ...] at `indices` [n]. */
export const GatherRows: Op<null> = {
  name: "gatherRows",
  readsBfloat16: (_node, input) => input === 0,
  types: (inputs) => {
    const [table, indices] = inputs;
    if (indices!.dtype !== "int64" || indices!.shape.length !== 1)
      throw shapeError("gatherRows", "indices are no int64 vector", inputs);
    return [{ shape: [indices!.shape[0]!, ...table!.shape.slice(1)], dtype: table!.dtype }];
  },
  vjp: ({ inputs: [table, indices], outputGrads: [dy] }) => [
    scatterAddRows(indices!, dy!, axisSize(table!, 0)),
    null,
  ],
  lower: {
    primitives: emitGather,
    native: (emit, node) => {
      const bits = emit.bfloat16(node.inputs[0]!);
      if (bits === null) return emitGather(emit, node);
      emit.node(
        "GatherRowsBf16",
        [bits, emit.name(node.inputs[1]!)],
        [emit.name(node.outputs[0]!)],
        {},
        "hone",
      );
    },
  },
  reference: ([table, indices]) => {
    const width = table!.data.length / table!.shape[0]!;
    return [
      Float64Array.from(
        { length: indices!.data.length * width },
        (_, i) => table!.data[indices!.data[Math.floor(i / width)]! * width + (i % width)]!,
      ),
    ];
  },
};

function emitGather(emit: Emitter, { inputs, outputs }: TypedNode<null>): void {
  emit.node(
    "Gather",
    inputs.map((value) => emit.name(value)),
    [emit.name(outputs[0]!)],
    { axis: 0 },
  );
}

export function gatherRows(table: Value, indices: Value): Value {
  return apply(GatherRows, [table, indices], null);
}

/** A zero tensor of `rows` rows to which row i of `updates` is added at `indices[i]`; an index may repeat. */
export const ScatterAddRows = {
  name: "scatterAddRows",
  types: ([, updates], { rows }) => [{ shape: [rows, ...updates!.shape.slice(1)], dtype: "float32" }],
  vjp: ({ inputs: [indices], outputGrads: [dy] }) => [null, gatherRows(dy!, indices!)],
  lower: {
    primitives: emitScatterAdd,
    native: (emit, node) => {
      const { inputs, outputs, attributes } = node;
      const [indices, updates] = inputs;
      if (updates!.shape.length !== 2) return emitScatterAdd(emit, node);
      const sizes = emit.fresh("sizes");
      emit.node("Expand", [emit.constant("float32", [], [0]), emit.shape([attributes.rows, 1])], [sizes]);
      emit.node(
        "ScatterAddRows",
        [sizes, emit.name(indices!), emit.name(updates!)],
        [emit.name(outputs[0]!)],
        {},
        "hone",
      );
    },
  },
  reference: ([indices, updates], _attributes, [shape]) => {
    const result = new Float64Array(shape!.reduce((a, b) => a * b, 1));
    const width = result.length / shape![0]!;
    updates!.data.forEach((value, i) => {
      result[indices!.data[Math.floor(i / width)]! * width + (i % width)]! += value;
    });
    return [result];
  },
} satisfies Op<{ readonly rows: Dim }>;

function emitScatterAdd(
  emit: Emitter,
  { inputs: [indices, updates], outputs, attributes: { rows } }: TypedNode<{ readonly rows: Dim }>,
): void {
  const base = emit.fresh("zeros");
  emit.node(
    "Expand",
    [emit.constant("float32", [], [0]), emit.shape([rows, ...updates!.shape.slice(1)])],
    [base],
  );
  const [column, everywhere] = [emit.fresh("column"), emit.fresh("everywhere")];
  const inner = updates!.shape.slice(1);
  const axes = inner.map((_, axis) => axis + 1);
  emit.node("Unsqueeze", [emit.name(indices!), emit.constant("int64", [axes.length], axes)], [column]);
  emit.node("Expand", [column, emit.shape(updates!.shape)], [everywhere]);
  // Not ScatterND: onnxruntime shares its updates out among threads, and two that add to one row lose summands.
  emit.node("ScatterElements", [base, everywhere, emit.name(updates!)], [emit.name(outputs[0]!)], {
    axis: 0,
    reduction: "add",
  });
}

export function scatterAddRows(indices: Value, updates: Value, rows: Dim): Value {
  return apply(ScatterAddRows, [indices, updates], { rows });
}

/** Element `indices[i]` of row i of `x` [S, V], as a vector [S]. */
export const PickColumns = {
  name: "pickColumns",
  types: (inputs) => {
    const [x, indices] = inputs;
    if (x!.shape.length !== 2 || indices!.dtype !== "int64" || indices!.shape[0] !== x!.shape[0]) {
      throw shapeError("pickColumns", "expected a matrix and one int64 index per row", inputs);
    }
    return [{ shape: [x!.shape[0]!], dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x, indices], outputGrads: [dy] }) => [
    apply(SpreadColumns, [indices!, dy!], { columns: axisSize(x!, 1) }),
    null,
  ],
  lower: {
    primitives: (emit, { inputs: [x, indices], outputs }) => {
      const [column, picked] = [emit.fresh("column"), emit.fresh("picked")];
      emit.node("Unsqueeze", [emit.name(indices!), emit.constant("int64", [1], [1])], [column]);
      emit.node("GatherElements", [emit.name(x!), column], [picked], { axis: 1 });
      emit.node("Squeeze", [picked, emit.constant("int64", [1], [1])], [emit.name(outputs[0]!)]);
    },
  },
  reference: ([x, indices]) => [indices!.data.map((column, row) => x!.data[row * x!.shape[1]! + column]!)],
} satisfies Op<null>;

export function pickColumns(x: Value, indices: Value): Value {
  return apply(PickColumns, [x, indices], null);
}

/** A zero matrix [S, V] with `values[i]` at column `indices[i]` of row i. */
export const SpreadColumns = {
  name: "spreadColumns",
  types: ([indices], { columns }) => [{ shape: [indices!.shape[0]!, columns], dtype: "float32" }],
  vjp: ({ inputs: [indices], outputGrads: [dy] }) => [null, pickColumns(dy!, indices!)],
  lower: {
    primitives: (emit, { inputs: [indices, values], outputs, attributes: { columns } }) => {
      const [base, column, update] = [emit.fresh("zeros"), emit.fresh("column"), emit.fresh("update")];
      emit.node(
        "Expand",
        [emit.constant("float32", [], [0]), emit.shape([indices!.shape[0]!, columns])],
        [base],
      );
      emit.node("Unsqueeze", [emit.name(indices!), emit.constant("int64", [1], [1])], [column]);
      emit.node("Unsqueeze", [emit.name(values!), emit.constant("int64", [1], [1])], [update]);
      emit.node("ScatterElements", [base, column, update], [emit.name(outputs[0]!)], { axis: 1 });
    },
  },
  reference: ([indices, values], _attributes, [shape]) => {
    const result = new Float64Array(shape![0]! * shape![1]!);
    indices!.data.forEach((column, row) => {
      result[row * shape![1]! + column] = values!.data[row]!;
    });
    return [result];
  },
} satisfies Op<{ readonly columns: Dim }>;

/** A vector [n] as a column [n, 1], which broadcasts against a matrix. */
export function asColumn(x: Value): Value {
  return reshape(x, [x.shape[0]!, 1]);
}
