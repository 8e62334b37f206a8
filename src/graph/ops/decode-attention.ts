/**
 * Causal attention of new tokens over a cache of keys and values in pages (Kwon et al., arXiv:2309.06180), so that
 * sequences can share what they have in common and be forked at no cost. For sampling: it has no gradient.
 */
import { divideDim, multiplyDims } from "../dim.js";
import { apply, type Op, type ReferenceArray, shapeError, type Value } from "../graph.js";
import { max, sum } from "./broadcast.js";
import { add, and, cast, div, exp, lessOrEqual, maximum, sub, where } from "./elementwise.js";
import { gatherRows } from "./gather.js";
import { matmul } from "./matmul.js";
import { reshape, transpose } from "./movement.js";

/** Tokens of a page: native/hone.h, HONE_CACHE_PAGE. */
export const CACHE_PAGE = 16;

export interface DecodeAttentionAttributes {
  readonly heads: number;
  readonly kvHeads: number;
  /** Factor of q·k before the softmax, usually 1/√K. */
  readonly scale: number;
  /** A token sees this many tokens back, itself included; 0 means all. */
  readonly window: number;
}

/** One layer's pages: keys [pages, KV·K·16] as KV × K × 16, values [pages, KV·16·K] as KV × 16 × K. */
export interface CachePages {
  readonly keys: Value;
  readonly values: Value;
}

/** How T new tokens continue S cached sequences. The last five are for providers without the kernel. */
export interface CacheLayout {
  /** The pages of each sequence in order, room for the new tokens included; 0 where it has no more: int32 [S, M]. */
  readonly tables: Value;
  /** The sequence of each token: int32 [T]. */
  readonly sequences: Value;
  /** The place of each token in its sequence: int32 [T]. */
  readonly positions: Value;
  /** Tokens that each sequence already has in its pages: int64 [S]. */
  readonly pastLengths: Value;
  /** Flat index of the token in each place of S rows of N new tokens, 0 for padding: int64 [S·N]. */
  readonly rows: Value;
  /** Place in the rows of each token: int64 [T]. */
  readonly places: Value;
  /** 0, 1 … N − 1: int64 [N]. */
  readonly columns: Value;
  /** 0, 1 … 16·M − 1: int64 [16·M]. */
  readonly keyColumns: Value;
}

const MASKED = -1e30;

/**
 * q [T, H·K], k and v [T, KV·K], keys, values, then the layout's eight → o [T, H·K].
 *
 * The native kernel also writes k and v into their pages. Elsewhere that is left to whoever runs the graph, after it ran.
 */
export const DecodeAttention: Op<DecodeAttentionAttributes> = {
  name: "decodeAttention",
  types: (inputs, { heads, kvHeads }) => {
    const [q, k, v, keys, values] = inputs;
    const width = (q!.shape[1] as number) / heads;
    const page = CACHE_PAGE * kvHeads * width;
    if (heads % kvHeads !== 0 || k!.shape[1] !== kvHeads * width || v!.shape[1] !== kvHeads * width)
      throw shapeError(
        "decodeAttention",
        `widths do not fit ${heads} heads over ${kvHeads} key-value heads`,
        inputs,
      );
    if (keys!.shape[1] !== page || values!.shape[1] !== page)
      throw shapeError("decodeAttention", `a page is not ${page} numbers wide`, inputs);
    return [{ shape: q!.shape, dtype: "float32" }];
  },
  decompose: (inputs, attributes) => [attentionOverRows(inputs, attributes)],
  fitsKernel: ([q], { heads }) => {
    const width = (q!.shape[1] as number) / heads;
    return width % 4 === 0 && width <= 1024;
  },
  lower: {
    native: (emit, { inputs, outputs, attributes: { heads, kvHeads, scale, window } }) =>
      emit.node(
        "DecodeAttention",
        inputs.slice(0, 8).map((value) => emit.name(value)),
        [emit.name(outputs[0]!)],
        { heads, kvHeads, scale: { float: scale }, window },
        "hone",
      ),
  },
  reference,
};

/** The same on padded rows, in plain ops: past and new keys apart, under one softmax. */
function attentionOverRows(
  [q, k, v, keys, values, ...layout]: readonly Value[],
  { heads, kvHeads, scale, window }: DecodeAttentionAttributes,
): Value {
  const [tables, , , pastLengths, rows, places, columns, keyColumns] = layout as Value[] as [
    ...[Value, Value, Value, Value],
    ...[Value, Value, Value, Value],
  ];
  const [sequences, tableWidth] = tables.shape as [Value["shape"][number], Value["shape"][number]];
  const length = columns.shape[0]!;
  const past = keyColumns.shape[0]!;
  const width = (q!.shape[1] as number) / heads; // head counts and widths are always known
  const shared = heads / kvHeads;
  const pages = reshape(cast(tables, "int64"), [multiplyDims(sequences, tableWidth)]);
  const pastKeys = reshape(
    transpose(reshape(gatherRows(keys!, pages), [sequences, tableWidth, kvHeads, width, CACHE_PAGE]), [
      ...[0, 2, 3, 1, 4],
    ]),
    [sequences, kvHeads, width, past],
  );
  const pastValues = reshape(
    transpose(reshape(gatherRows(values!, pages), [sequences, tableWidth, kvHeads, CACHE_PAGE, width]), [
      ...[0, 2, 1, 3, 4],
    ]),
    [sequences, kvHeads, past, width],
  );
  const perHead = (x: Value): Value =>
    transpose(reshape(gatherRows(x, rows), [sequences, length, kvHeads, width]), [0, 2, 1, 3]);
  const queries = transpose(
    reshape(gatherRows(q!, rows), [sequences, length, kvHeads, shared, width]),
    [0, 2, 3, 1, 4],
  );
  // All query heads of one key-value head share its product, so keys are never repeated.
  const grouped = reshape(queries, [sequences, kvHeads, multiplyDims(shared, length), width]);
  const apart = (x: Value): Value => reshape(x, [sequences, kvHeads, shared, length, x.shape[3]!]);
  const together = (x: Value): Value =>
    reshape(x, [sequences, kvHeads, multiplyDims(shared, length), x.shape[4]!]);

  const pastLength = reshape(pastLengths, [sequences, 1, 1, 1, 1]);
  const place = reshape(columns, [1, 1, 1, length, 1]);
  const position = add(pastLength, place);
  const oldKey = reshape(keyColumns, [1, 1, 1, 1, past]);
  const newKey = reshape(columns, [1, 1, 1, 1, length]);
  const inWindow = (key: Value): Value => lessOrEqual(position, add(key, window - 1));
  const seesOld = lessOrEqual(add(oldKey, 1), pastLength);
  const seesNew = lessOrEqual(newKey, place);
  const masked = (scores: Value, sees: Value, key: Value): Value =>
    where(window === 0 ? sees : and(sees, inWindow(key)), apart(scores), MASKED);
  const oldScores = masked(matmul(grouped, pastKeys, { alpha: scale }), seesOld, oldKey);
  const newScores = masked(
    matmul(grouped, perHead(k!), { transB: true, alpha: scale }),
    seesNew,
    add(pastLength, newKey),
  );
  const most = maximum(max(oldScores, [-1]), max(newScores, [-1]));
  const [oldPowers, newPowers] = [exp(sub(oldScores, most)), exp(sub(newScores, most))];
  const total = together(add(sum(oldPowers, [-1]), sum(newPowers, [-1])));
  const mixed = div(
    add(matmul(together(oldPowers), pastValues), matmul(together(newPowers), perHead(v!))),
    total,
  );
  const flat = reshape(
    transpose(reshape(mixed, [sequences, kvHeads, shared, length, width]), [0, 3, 1, 2, 4]),
    [rows.shape[0]!, q!.shape[1]!],
  );
  return gatherRows(flat, places);
}

function reference(
  inputs: readonly ReferenceArray[],
  { heads, kvHeads, scale, window }: DecodeAttentionAttributes,
): Float64Array[] {
  const [q, k, v, keys, values, tables, sequences, positions] = inputs as readonly ReferenceArray[] &
    Record<number, ReferenceArray>;
  const [tokens, total] = q!.shape as readonly [number, number];
  const width = total / heads;
  const tableWidth = tables!.shape[1]!;
  const page = CACHE_PAGE * kvHeads * width;
  /** Which of the new tokens stands at a place of a sequence. */
  const fresh = new Map(
    Array.from({ length: tokens }, (_, t) => [`${sequences!.data[t]} ${positions!.data[t]}`, t]),
  );
  const numberOf = (kind: "key" | "value", sequence: number, at: number, head: number, d: number): number => {
    const t = fresh.get(`${sequence} ${at}`);
    if (t !== undefined) return (kind === "key" ? k : v)!.data[(t * kvHeads + head) * width + d]!;
    const first = tables!.data[sequence * tableWidth + Math.floor(at / CACHE_PAGE)]! * page;
    const slot = at % CACHE_PAGE;
    return kind === "key"
      ? keys!.data[first + (head * width + d) * CACHE_PAGE + slot]!
      : values!.data[first + (head * CACHE_PAGE + slot) * width + d]!;
  };
  const o = new Float64Array(tokens * total);
  for (let t = 0; t < tokens; t++) {
    const [sequence, position] = [sequences!.data[t]!, positions!.data[t]!];
    const first = window === 0 ? 0 : Math.max(0, position - window + 1);
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor((head * kvHeads) / heads);
      const at = t * total + head * width;
      const scores = Array.from({ length: position - first + 1 }, (_, j) => {
        let score = 0;
        for (let d = 0; d < width; d++)
          score += q!.data[at + d]! * numberOf("key", sequence, first + j, kvHead, d);
        return scale * score;
      });
      const shift = Math.max(...scores);
      const powers = scores.map((score) => Math.exp(score - shift));
      const norm = powers.reduce((a, b) => a + b, 0);
      powers.forEach((power, j) => {
        for (let d = 0; d < width; d++)
          o[at + d]! += (power / norm) * numberOf("value", sequence, first + j, kvHead, d);
      });
    }
  }
  return [o];
}

/** Attention of packed queries [T, H·K] over cached and new keys and values. */
export function decodeAttention(
  { q, k, v }: { readonly q: Value; readonly k: Value; readonly v: Value },
  { keys, values }: CachePages,
  layout: CacheLayout,
  attributes: DecodeAttentionAttributes,
): Value {
  const { tables, sequences, positions, pastLengths, rows, places, columns, keyColumns } = layout;
  divideDim(keyColumns.shape[0]!, CACHE_PAGE);
  return apply(
    DecodeAttention,
    [q, k, v, keys, values, tables, sequences, positions, pastLengths, rows, places, columns, keyColumns],
    attributes,
  );
}
