/**
 * Weights packed beforehand, for products with few rows that are taken many times: 32 rows of a weight are a panel, in which
 * they lie turned, so that a kernel reads one stretch of memory. For sampling: these have no gradient.
 */
import { type Dim, sameShape } from "../dim.js";
import { apply, type Op, shapeError, type Value } from "../graph.js";
import { zeros } from "./elementwise.js";
import { concat, slice } from "./join.js";
import { input } from "./leaves.js";
import { matmul } from "./matmul.js";
import { reshape, transpose } from "./movement.js";

/** Rows of a panel: native/hone.h, HONE_PANEL_COLUMNS. */
const PANEL = 32;

/** w [N, K] → panels [⌈N / 32⌉, K·32] as K × 32, zeros where w has no more rows. */
export const PackPanels: Op<null> = {
  name: "packPanels",
  types: (inputs) => {
    const [rows, width] = inputs[0]!.shape;
    if (inputs[0]!.shape.length !== 2 || typeof rows !== "number" || typeof width !== "number")
      throw shapeError("packPanels", "expected a matrix of known sizes", inputs);
    return [{ shape: panelShape(rows, width), dtype: "float32" }];
  },
  decompose: ([w]) => {
    const [rows, width] = w!.shape as readonly [number, number]; // as `types` demands
    const [panels] = panelShape(rows, width);
    const missing = panels * PANEL - rows;
    const whole = missing === 0 ? w! : concat([w!, zeros([missing, width])], 0);
    return [reshape(transpose(reshape(whole, [panels, PANEL, width]), [0, 2, 1]), panelShape(rows, width))];
  },
  lower: {
    native: (emit, { inputs, outputs }) =>
      emit.node("PackPanels", [emit.name(inputs[0]!)], [emit.name(outputs[0]!)], {}, "hone"),
  },
  reference: ([w]) => {
    const [rows, width] = w!.shape as readonly [number, number];
    const packed = new Float64Array(panelShape(rows, width).reduce((a, b) => a * b, 1));
    w!.data.forEach((value, i) => {
      packed[placeOf(Math.floor(i / width), i % width, width)] = value;
    });
    return [packed];
  },
};

export interface PanelMatmulAttributes {
  /** Rows N of the packed weight. */
  readonly rows: number;
}

/** x [T, K], panels of w [N, K], c [T, N] or [N] or none → x·wᵀ + c. */
export const PanelMatmul: Op<PanelMatmulAttributes> = {
  name: "panelMatmul",
  summand: 2,
  types: (inputs, { rows }) => {
    const [x, panels, c] = inputs;
    const shape: readonly Dim[] = [x!.shape[0]!, rows];
    const [count, length] = panelShape(rows, x!.shape[1] as number);
    if (x!.shape.length !== 2 || panels!.shape[0] !== count || panels!.shape[1] !== length)
      throw shapeError("panelMatmul", `panels are not those of [${rows}, ${x!.shape[1]}]`, inputs);
    if (c !== undefined && !(sameShape(c.shape, shape) || sameShape(c.shape, [rows])))
      throw shapeError("panelMatmul", `summand does not fit [${shape.join(", ")}]`, inputs);
    return [{ shape, dtype: "float32" }];
  },
  decompose: ([x, panels, c], { rows }) => {
    const width = x!.shape[1] as number; // as the panels' shape says
    const [count] = panelShape(rows, width);
    const turned = transpose(reshape(panels!, [count, width, PANEL]), [0, 2, 1]);
    const w = slice(reshape(turned, [count * PANEL, width]), 0, 0, rows);
    return [matmul(x!, w, { transB: true, ...(c === undefined ? {} : { plus: c }) })];
  },
  lower: {
    native: (emit, { inputs, outputs, attributes: { rows } }) =>
      emit.node(
        "MatMulPanels",
        inputs.map((value) => emit.name(value)),
        [emit.name(outputs[0]!)],
        { columns: rows },
        "hone",
      ),
  },
  reference: ([x, panels, c], { rows }) => {
    const [tokens, width] = x!.shape as readonly [number, number];
    const result = new Float64Array(tokens * rows);
    for (let i = 0; i < result.length; i++) {
      const [t, n] = [Math.floor(i / rows), i % rows];
      let sum = c === undefined ? 0 : c.data[c.shape.length === 1 ? n : i]!;
      for (let k = 0; k < width; k++) sum += x!.data[t * width + k]! * panels!.data[placeOf(n, k, width)]!;
      result[i] = sum;
    }
    return [result];
  },
};

function panelShape(rows: number, width: number): readonly [number, number] {
  return [Math.ceil(rows / PANEL), width * PANEL];
}

/** Where a weight's number lies in its panels. */
function placeOf(row: number, column: number, width: number): number {
  return Math.floor(row / PANEL) * width * PANEL + column * PANEL + (row % PANEL);
}

/** A packed weight [rows, K] as a graph value. */
export interface PanelWeight {
  readonly panels: Value;
  readonly rows: number;
}

/** w [N, K] as panels. */
export function packPanels(w: Value): PanelWeight {
  return { panels: apply(PackPanels, [w], null), rows: w.shape[0] as number }; // PackPanels knows sizes
}

/** Panels of a weight [rows, width] that somebody packed, as an input. */
export function panelInput(name: string, [rows, width]: readonly [number, number]): PanelWeight {
  return { panels: input(name, panelShape(rows, width)), rows };
}

/** x·wᵀ + bias for rows x [T, K] and a packed w [N, K]. */
export function panelLinear(x: Value, { panels, rows }: PanelWeight, bias?: Value): Value {
  return apply(PanelMatmul, bias === undefined ? [x, panels] : [x, panels, bias], { rows });
}
