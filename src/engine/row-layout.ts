/** Packed sequences laid out in rows, for providers whose attention needs rows (graph/ops/attention.ts). */
import { type HostTensor, hostTensor } from "../tensor/index.js";

/**
 * Rows as long as the longest sequence, each sequence in the fullest row that still has room.
 * @param flat_D_T place of each token among the `total` packed ones; one that sequences share stands in all their rows
 */
export function rowLayout(flat_D_T: readonly Int32Array[], total: number): Record<string, HostTensor> {
  const length = Math.max(...flat_D_T.map((flat_T) => flat_T.length));
  const filled: number[] = [];
  const places = flat_D_T.map(() => ({ row: 0, column: 0 }));
  const byLength = flat_D_T
    .map((_, i) => i)
    .sort((a, b) => flat_D_T[b]!.length - flat_D_T[a]!.length || a - b);
  for (const sequence of byLength) {
    const size = flat_D_T[sequence]!.length;
    let row = -1;
    filled.forEach((used, candidate) => {
      if (used + size <= length && (row < 0 || used > filled[row]!)) row = candidate;
    });
    if (row < 0) row = filled.push(0) - 1;
    places[sequence] = { row, column: filled[row]! };
    filled[row]! += size;
  }
  const rows = new Int32Array(filled.length * length);
  const placeOf = new Int32Array(total);
  const startColumns = new Int32Array(filled.length * length);
  flat_D_T.forEach((flat_T, sequence) => {
    const { row, column } = places[sequence]!;
    flat_T.forEach((flat, i) => {
      const place = row * length + column + i;
      rows[place] = flat;
      placeOf[flat] = place;
      startColumns[place] = column;
    });
  });
  return {
    rows: int64(rows),
    places: int64(placeOf),
    startColumns: int64(startColumns),
    columns: int64(Int32Array.from({ length }, (_, column) => column)),
  };
}

/** The numbers 0 … 2³¹ − 1 as int64. `BigInt64Array.from(values, BigInt)` takes fifty times as long. */
export function int64(values: Int32Array): HostTensor<"int64"> {
  const wide = new BigInt64Array(values.length);
  const halves = new Int32Array(wide.buffer); // lower half first, as on every processor that onnxruntime is built for
  for (let i = 0; i < values.length; i++) halves[2 * i] = values[i]!;
  return hostTensor("int64", [values.length], wide);
}
