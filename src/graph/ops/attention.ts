/**
 * Causal attention over packed sequences: no token sees another sequence, and no padding is computed on the native
 * provider (block-wise with a running softmax; Dao et al., arXiv:2205.14135). Plain providers use padded rows.
 * Sequences that begin alike may share their beginning: it is packed once, before the branches that continue it.
 */
import { divideDim, multiplyDims } from "../dim.js";
import { gradient } from "../gradient.js";
import { applyAll, type Lowering, type Op, type ReferenceArray, shapeError, type Value } from "../graph.js";
import { sumAll } from "./broadcast.js";
import { add, and, lessOrEqual, mul, where } from "./elementwise.js";
import { gatherRows } from "./gather.js";
import { matmul } from "./matmul.js";
import { reshape, transpose } from "./movement.js";
import { logSumExp, softmax } from "./softmax.js";

export interface AttentionAttributes {
  readonly heads: number;
  readonly kvHeads: number;
  /** Factor of q·k before the softmax, usually 1/√K. */
  readonly scale: number;
  /** A token sees this many tokens back, itself included; 0 means all. */
  readonly window: number;
  /** All rows are full, so that reading rows is a mere reshape. */
  readonly uniform: boolean;
}

/**
 * How T packed tokens form sequences, and, for providers that need it, how sequences fill B rows of length L.
 * Padding stands at the end of a row. A sequence lies whole within one row, also where it shares its first tokens: each
 * sequence then has its own copies of them, which plain providers compute anew.
 */
export interface AttentionLayout {
  /**
   * Flat index behind the last token that sees this one: the end of the token's sequence or, where several sequences
   * share it, of the last of them. Shared tokens stand once, before their branches, which may branch again: int32 [T].
   */
  readonly ends: Value;
  /** Flat index of the token in each place of the rows, 0 for padding: int64 [B·L]. */
  readonly rows: Value;
  /** A place in the rows of each flat token: int64 [T]. */
  readonly places: Value;
  /** Column at which the sequence of each place begins: int64 [B·L]. */
  readonly startColumns: Value;
  /** 0, 1 … L − 1: int64 [L]. */
  readonly columns: Value;
}

const MASKED = -1e30;

/** native/attention.c: heads of at most 1024 columns, in fours. */
const fitsKernel = ([q]: readonly Value[], { heads }: AttentionAttributes): boolean =>
  kernelTakes((q!.shape[1] as number) / heads);
const kernelTakes = (width: number): boolean => width % 4 === 0 && width <= 1024;

/** Whether attention with heads of this width reads the rows of its layout, or `ends` alone. */
export function attentionNeedsRows(lowering: Lowering, width: number): boolean {
  return lowering !== "native" || !kernelTakes(width);
}

/** q [T, H·K], k and v [T, KV·K], then the layout's five vectors → o [T, H·K], log-sum-exp of the scores [T, H]. */
export const Attention: Op<AttentionAttributes> = {
  name: "attention",
  types: (inputs, { heads, kvHeads }) => {
    const [q, k, v] = inputs;
    const width = (q!.shape[1] as number) / heads;
    if (heads % kvHeads !== 0 || k!.shape[1] !== kvHeads * width || v!.shape[1] !== kvHeads * width) {
      throw shapeError(
        "attention",
        `widths do not fit ${heads} heads over ${kvHeads} key-value heads`,
        inputs,
      );
    }
    return [
      { shape: q!.shape, dtype: "float32" },
      { shape: [q!.shape[0]!, heads], dtype: "float32" },
    ];
  },
  vjp: ({ inputs, outputs: [o, lse], outputGrads: [dy, dlse], attributes }) => {
    if (dlse !== null) throw new Error("internal: attention's log-sum-exp is not differentiable");
    const grads = applyAll(AttentionGrad, [...inputs, o!, lse!, dy!], attributes);
    return [...grads, null, null, null, null, null];
  },
  decompose: attentionOnRows,
  fitsKernel,
  lower: {
    native: (emit, { inputs, outputs, attributes: { heads, kvHeads, scale, window } }) =>
      emit.node(
        "Attention",
        inputs.slice(0, 4).map((value) => emit.name(value)),
        outputs.map((value) => emit.name(value) || emit.fresh("unused")),
        { heads, kvHeads, scale: { float: scale }, window },
        "hone",
      ),
  },
  reference: (inputs, attributes, [shape]) => {
    const [q, , v] = inputs;
    const { heads } = attributes;
    const [tokens, total] = shape as readonly [number, number];
    const width = total / heads;
    const o = new Float64Array(tokens * total);
    const lse = new Float64Array(tokens * heads);
    forEachRow(inputs, attributes, q!.shape, ({ t, head, kvAt, keys, weights, logSum }) => {
      lse[t * heads + head] = logSum;
      weights.forEach((weight, j) => {
        for (let i = 0; i < width; i++)
          o[t * total + head * width + i]! += weight * v!.data[kvAt(keys[j]!) + i]!;
      });
    });
    return [o, lse];
  },
};

/** dq, dk, dv from the inputs of `Attention`, its outputs and do, with the scores computed anew. */
export const AttentionGrad: Op<AttentionAttributes> = {
  name: "attentionGrad",
  types: ([q, k, v]) => [q, k, v].map((value) => ({ shape: value!.shape, dtype: "float32" as const })),
  decompose: (inputs, attributes) => {
    const [q, k, v] = inputs;
    const [o] = attentionOnRows(inputs, attributes);
    return gradient(sumAll(mul(o, inputs.at(-1)!)), [q!, k!, v!]);
  },
  fitsKernel,
  lower: {
    native: (emit, { inputs, outputs, attributes: { heads, kvHeads, scale, window } }) =>
      emit.node(
        "AttentionGrad",
        [...inputs.slice(0, 4), ...inputs.slice(-3)].map((value) => emit.name(value)),
        outputs.map((value) => emit.name(value) || emit.fresh("unused")),
        { heads, kvHeads, scale: { float: scale }, window },
        "hone",
      ),
  },
  // With P the weights and dP = do·vᵀ:  dv = Pᵀdo,  dS = P∘(dP − Σ dP∘P),  dq = scale·dS·k,  dk = scale·dSᵀ·q
  reference: (inputs, attributes) => {
    const [q, k, v] = inputs;
    const dy = inputs.at(-1)!;
    const total = q!.shape[1]!;
    const width = total / attributes.heads;
    const [dq, dk, dv] = [q, k, v].map((x) => new Float64Array(x!.data.length)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    forEachRow(inputs, attributes, q!.shape, ({ t, head, kvAt, keys, weights }) => {
      const at = t * total + head * width;
      const dWeights = weights.map((_, j) => dot(dy.data, at, v!.data, kvAt(keys[j]!), width));
      const mean = weights.reduce((sum, weight, j) => sum + weight * dWeights[j]!, 0);
      weights.forEach((weight, j) => {
        const dScore = attributes.scale * weight * (dWeights[j]! - mean);
        for (let i = 0; i < width; i++) {
          const kv = kvAt(keys[j]!) + i;
          dv[kv]! += weight * dy.data[at + i]!;
          dq[at + i]! += dScore * k!.data[kv]!;
          dk[kv]! += dScore * q!.data[at + i]!;
        }
      });
    });
    return [dq, dk, dv];
  },
};

/** The same on padded rows, in plain ops. */
function attentionOnRows(
  [q, k, v, ...layout]: readonly Value[],
  attributes: AttentionAttributes,
): [Value, Value] {
  const { heads, kvHeads, scale, uniform } = attributes;
  const [, rows, places, startColumns, columns] = layout as [Value, Value, Value, Value, Value];
  const length = columns.shape[0]!;
  const batch = divideDim(rows.shape[0]!, length);
  const width = (q!.shape[1] as number) / heads;
  const shared = heads / kvHeads;
  const toRows = (x: Value): Value => (uniform ? x : gatherRows(x, rows));
  const fromRows = (x: Value): Value => (uniform ? x : gatherRows(x, places));
  const keyed = (x: Value): Value =>
    transpose(reshape(toRows(x), [batch, length, kvHeads, width]), [0, 2, 1, 3]);
  const queried = transpose(reshape(toRows(q!), [batch, length, kvHeads, shared, width]), [0, 2, 3, 1, 4]);
  // All query heads of one key-value head share its product: [B, KV, G·L, K], so keys are never repeated.
  const grouped = reshape(queried, [batch, kvHeads, multiplyDims(shared, length), width]);
  const scores = reshape(matmul(grouped, keyed(k!), { transB: true, alpha: scale }), [
    batch,
    kvHeads,
    shared,
    length,
    length,
  ]);
  const masked = add(scores, causalBias(startColumns, columns, batch, attributes));
  const weights = reshape(softmax(masked), [batch, kvHeads, multiplyDims(shared, length), length]);
  const mixed = reshape(matmul(weights, keyed(v!)), [batch, kvHeads, shared, length, width]);
  const flat = uniform ? q!.shape[0]! : rows.shape[0]!;
  const o = fromRows(reshape(transpose(mixed, [0, 3, 1, 2, 4]), [flat, q!.shape[1]!]));
  const lse = fromRows(reshape(transpose(logSumExp(masked), [0, 3, 1, 2, 4]), [flat, heads]));
  return [o, lse];
}

/** 0 where the query of a place may see the key of a column, a large negative number elsewhere: [B, 1, 1, L, L]. */
function causalBias(
  startColumns: Value,
  columns: Value,
  batch: Value["shape"][number],
  { window }: AttentionAttributes,
): Value {
  const length = columns.shape[0]!;
  const query = reshape(columns, [1, 1, 1, length, 1]);
  const key = reshape(columns, [1, 1, 1, 1, length]);
  const start = reshape(startColumns, [batch, 1, 1, length, 1]);
  const causal = and(lessOrEqual(key, query), lessOrEqual(start, key));
  return where(window === 0 ? causal : and(causal, lessOrEqual(query, add(key, window - 1))), 0, MASKED);
}

interface ReferenceRow {
  readonly t: number;
  readonly head: number;
  /** Position in k and v of a key's part for this head. */
  readonly kvAt: (key: number) => number;
  /** The keys that t attends to, and their softmax weights. */
  readonly keys: readonly number[];
  readonly weights: readonly number[];
  readonly logSum: number;
}

function forEachRow(
  [q, k, , ends]: readonly ReferenceArray[],
  { heads, kvHeads, scale, window }: AttentionAttributes,
  [tokens, total]: readonly number[],
  visit: (row: ReferenceRow) => void,
): void {
  const width = total! / heads;
  for (let t = 0; t < tokens!; t++) {
    const visible = Array.from({ length: t + 1 }, (_, key) => key).filter((key) => ends!.data[key]! > t);
    const keys = visible.slice(-window); // -0 takes all
    for (let head = 0; head < heads; head++) {
      const kvAt = (key: number): number => (key * kvHeads + Math.floor((head * kvHeads) / heads)) * width;
      const scores = keys.map(
        (key) => scale * dot(q!.data, t * total! + head * width, k!.data, kvAt(key), width),
      );
      const shift = Math.max(...scores);
      const sum = scores.reduce((accumulated, score) => accumulated + Math.exp(score - shift), 0);
      visit({
        t,
        head,
        kvAt,
        keys,
        weights: scores.map((score) => Math.exp(score - shift) / sum),
        logSum: shift + Math.log(sum),
      });
    }
  }
}

function dot(a: Float64Array, atA: number, b: Float64Array, atB: number, length: number): number {
  let total = 0;
  for (let i = 0; i < length; i++) total += a[atA + i]! * b[atB + i]!;
  return total;
}

/** Causal attention of packed queries [T, H·K] over keys and values [T, KV·K]. */
export function attention(
  { q, k, v }: { readonly q: Value; readonly k: Value; readonly v: Value },
  layout: AttentionLayout,
  attributes: AttentionAttributes,
): Value {
  const { ends, rows, places, startColumns, columns } = layout;
  return applyAll(Attention, [q, k, v, ends, rows, places, startColumns, columns], attributes)[0]!;
}
