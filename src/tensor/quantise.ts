/**
 * 4-bit block quantisation of a weight matrix w [rows, columns], as the MatMulQ4 kernel and MatMulNBits take it.
 *
 *     w[r, c] ≈ (q[r, c] - zero[r, b]) · scale[r, b]      b = ⌊c / block⌋, q and zero in 0..15
 *
 * Symmetric: zero = 8, scale = w* / -8 with w* the weight of largest magnitude in the block (ggml's Q4_0). The
 * error is at most |scale| / 2, except where w / scale lies above 7.5 (the side opposite to w*): q stops at 15
 * there, and the error is at most |scale|.
 * With zero points: the block's range, widened to contain 0, is cut into 15 steps; zero = round(-low / scale).
 * The error is at most scale / 2 everywhere, and 0 stays exactly 0.
 * Both bounds hold up to the rounding of float32. A block of zeros has scale 0.
 *
 * Packing: two per byte along a row, the even column in the low half. `columns` must be a multiple of `block`:
 * the kernels know no ragged block, and no supported model has one.
 */
import { UserError } from "../base/index.js";
import { GGUF_TENSOR_TYPES } from "./gguf-types.js";
import { float32FromFloat16 } from "./half.js";
import type { TensorEntry, TensorFile } from "./tensor-file.js";

export type QuantBlock = 32 | 128;

/** A quantised matrix; the arrays may be views of memory the caller owns. */
export interface QuantisedMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly block: QuantBlock;
  /** [rows, columns / 2] */
  readonly packed: Uint8Array;
  /** [rows, columns / block] */
  readonly scales: Float32Array;
  /** [rows, columns / block], one number of 0..15 per byte; absent means 8 everywhere. */
  readonly zeros?: Uint8Array;
}

export interface QuantiseOptions {
  readonly block?: QuantBlock;
  readonly zeroPoint?: boolean;
}

/** An empty matrix to be filled row by row. @throws UserError when `columns` is no multiple of the block */
export function createQuantisedMatrix(
  rows: number,
  columns: number,
  { block = 32, zeroPoint = false }: QuantiseOptions = {},
): QuantisedMatrix {
  expectWholeBlocks(columns, block, "matrix");
  const blocks = rows * (columns / block);
  const shared = { rows, columns, block };
  const packed = new Uint8Array((rows * columns) / 2);
  const scales = new Float32Array(blocks);
  return zeroPoint
    ? { ...shared, packed, scales, zeros: new Uint8Array(blocks) }
    : { ...shared, packed, scales };
}

/** Quantises `panel`, whole rows of float32, into the rows of `target` from `firstRow` on. */
export function quantiseRowsInto(target: QuantisedMatrix, firstRow: number, panel: Float32Array): void {
  const { columns, block, packed, scales, zeros } = target;
  expectRows(target, firstRow, panel.length);
  const firstBlock = (firstRow * columns) / block;
  const base = (firstRow * columns) / 2;
  const blocks = panel.length / block;
  for (let b = 0; b < blocks; b++) {
    const start = b * block;
    let low = 0;
    let high = 0;
    let allNumbers = true;
    for (let i = start; i < start + block; i++) {
      const w = panel[i]!;
      if (w < low) low = w;
      else if (w > high) high = w;
      else allNumbers &&= !Number.isNaN(w);
    }
    if (!allNumbers || high - low === Number.POSITIVE_INFINITY)
      throw nonFinite(panel, start, columns, firstRow);
    // A tie of magnitudes goes to the first weight in the block, as in ggml.
    let scale: number;
    let zero = 8;
    if (zeros === undefined) {
      scale = Math.fround(extremeOf(panel, start, { block, low, high }) / -8);
    } else {
      scale = Math.fround((high - low) / 15);
      zero = scale === 0 ? 0 : Math.min(15, Math.round(-low / scale));
      zeros[firstBlock + b] = zero;
    }
    scales[firstBlock + b] = scale;
    const inverse = scale === 0 ? 0 : 1 / scale;
    const offset = zero + 0.5;
    for (let i = 0; i < block; i += 2) {
      let even = (panel[start + i]! * inverse + offset) | 0;
      let odd = (panel[start + i + 1]! * inverse + offset) | 0;
      // Below 0 only where the scale is subnormal and itself far off; elsewhere truncation is the floor.
      if (even > 15) even = 15;
      else if (even < 0) even = 0;
      if (odd > 15) odd = 15;
      else if (odd < 0) odd = 0;
      packed[base + ((start + i) >> 1)] = even | (odd << 4);
    }
  }
}

/** Quantises a whole matrix that is in memory. */
export function quantise(
  matrix: Float32Array,
  { rows, columns, ...options }: { rows: number; columns: number } & QuantiseOptions,
): QuantisedMatrix {
  const target = createQuantisedMatrix(rows, columns, options);
  quantiseRowsInto(target, 0, matrix);
  return target;
}

/** Float32 numbers held while a tensor is quantised from its file. */
const PANEL_ELEMENTS = 2 ** 21;

/**
 * Quantises a 2-D tensor of an open file, panel of rows by panel of rows, so that only the panel (8 MB, or one row)
 * is ever in float32. NaN and infinities are refused by name.
 */
export function quantiseFromFile(
  file: TensorFile,
  name: string,
  options: QuantiseOptions & { readonly into?: QuantisedMatrix; readonly firstRow?: number } = {},
): QuantisedMatrix {
  const [rows, columns] = matrixShape(file.tensors.get(name), file, name);
  expectWholeBlocks(
    columns,
    options.into?.block ?? options.block ?? 32,
    `tensor "${name}" of "${file.path}"`,
  );
  const target = options.into ?? createQuantisedMatrix(rows, columns, options);
  const firstRow = options.firstRow ?? 0;
  const rowsPerPanel = Math.max(1, Math.min(rows, Math.floor(PANEL_ELEMENTS / columns)));
  const panel = new Float32Array(rowsPerPanel * columns);
  for (let row = 0; row < rows; row += rowsPerPanel) {
    const part = panel.subarray(0, Math.min(rowsPerPanel, rows - row) * columns);
    file.readInto(name, part, { rowOffset: row, rejectNonFinite: true });
    quantiseRowsInto(target, firstRow + row, part);
  }
  return target;
}

/** The float32 matrix that `matrix` stands for, or `rowCount` rows of it from `firstRow` on. */
export function dequantise(
  matrix: QuantisedMatrix,
  { firstRow = 0, rowCount = matrix.rows - firstRow }: { firstRow?: number; rowCount?: number } = {},
): Float32Array {
  const target = new Float32Array(rowCount * matrix.columns);
  dequantiseRowsInto(target, matrix, firstRow);
  return target;
}

/** Fills `target`, whole rows, with the rows of `matrix` from `firstRow` on. */
export function dequantiseRowsInto(target: Float32Array, matrix: QuantisedMatrix, firstRow: number): void {
  const { columns, block, packed, scales, zeros } = matrix;
  expectRows(matrix, firstRow, target.length);
  const firstBlock = (firstRow * columns) / block;
  const base = (firstRow * columns) / 2;
  for (let b = 0; b < target.length / block; b++) {
    const scale = scales[firstBlock + b]!;
    const zero = zeros === undefined ? 8 : zeros[firstBlock + b]!;
    for (let i = b * block; i < (b + 1) * block; i += 2) {
      const byte = packed[base + i / 2]!;
      target[i] = ((byte & 15) - zero) * scale;
      target[i + 1] = ((byte >> 4) - zero) * scale;
    }
  }
}

/**
 * The same numbers from GGUF's Q4_0 blocks, without loss: each block is a float16 scale and 16 bytes, of which
 * byte j holds columns j (low half) and j + 16 (high half).
 */
export function quantisedFromQ4_0(blocks: Uint8Array, rows: number, columns: number): QuantisedMatrix {
  const target = createQuantisedMatrix(rows, columns);
  const { packed, scales } = target;
  const { blockBytes } = GGUF_TENSOR_TYPES.Q4_0;
  if (blocks.length !== scales.length * blockBytes) {
    throw new RangeError(
      `Cannot convert Q4_0 blocks of matrix [${rows}, ${columns}]: ${blocks.length} bytes, expected ${scales.length * blockBytes}`,
    );
  }
  for (let b = 0; b < scales.length; b++) {
    const from = b * blockBytes;
    const nibbles = from + 2;
    scales[b] = float32FromFloat16(blocks[from]! | (blocks[from + 1]! << 8));
    for (let i = 0; i < 8; i++) {
      const even = blocks[nibbles + 2 * i]!;
      const odd = blocks[nibbles + 2 * i + 1]!;
      packed[b * 16 + i] = (even & 15) | ((odd & 15) << 4);
      packed[b * 16 + 8 + i] = (even >> 4) | (odd & 0xf0);
    }
  }
  return target;
}

/** The weight of largest magnitude, with its sign; of two such, the first. */
function extremeOf(
  panel: Float32Array,
  start: number,
  { block, low, high }: { block: number; low: number; high: number },
): number {
  if (-low !== high) return -low > high ? low : high;
  for (let i = start; i < start + block; i++) {
    if (panel[i] === low) return low;
    if (panel[i] === high) return high;
  }
  return 0;
}

function matrixShape(
  entry: TensorEntry | undefined,
  file: TensorFile,
  name: string,
): readonly [number, number] {
  const [rows, columns] = entry?.shape ?? [];
  if (entry?.shape.length === 2 && rows !== undefined && columns !== undefined) return [rows, columns];
  const found = entry === undefined ? "there is no such tensor" : `its shape is [${entry.shape.join(", ")}]`;
  throw new UserError(`Cannot quantise tensor "${name}" of "${file.path}": ${found}, expected a matrix`);
}

function expectWholeBlocks(columns: number, block: number, what: string): void {
  if (columns % block === 0) return;
  throw new UserError(
    `Cannot quantise ${what}: its rows have ${columns} columns, expected a multiple of the block ${block}`,
  );
}

function expectRows(matrix: QuantisedMatrix, firstRow: number, elements: number): void {
  const rows = elements / matrix.columns;
  if (Number.isInteger(rows) && firstRow >= 0 && firstRow + rows <= matrix.rows) return;
  throw new RangeError(
    `Cannot use ${elements} elements as rows from ${firstRow} of matrix [${matrix.rows}, ${matrix.columns}], expected whole rows within it`,
  );
}

function nonFinite(panel: Float32Array, start: number, columns: number, firstRow: number): UserError {
  const index = panel.findIndex((w, i) => i >= start && !Number.isFinite(w));
  const place = `[${firstRow + Math.floor(index / columns)}, ${index % columns}]`;
  return new UserError(
    `Cannot quantise a matrix: weight ${place} is ${panel[index]}, expected finite numbers`,
  );
}
