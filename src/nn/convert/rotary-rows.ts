/**
 * Row orders of query and key projections. Rotary embeddings turn pairs of a head's K outputs: llama2.c and
 * llama.cpp pair (2i, 2i+1), Hugging Face pairs (i, i + K/2). The same model therefore has its rows in another order.
 */

/**
 * Reorders the rows of each head from neighbouring pairs to halves:
 *
 *     halves[h K + j K/2 + i] = pairs[h K + 2i + j]        i in 0..K/2, j in {0, 1}
 *
 * `pairs` is a matrix of `heads * headWidth` rows of any length, a bias (rows of one), or rows of packed bytes.
 */
export function halvesFromPairs<T extends Float32Array | Uint8Array>(
  pairs: T,
  { heads, headWidth }: { heads: number; headWidth: number },
): T {
  const row = pairs.length / (heads * headWidth);
  if (!Number.isInteger(row)) {
    throw new RangeError(
      `Cannot reorder ${pairs.length} numbers of ${heads} heads of ${headWidth} rows, expected whole rows`,
    );
  }
  const half = headWidth / 2;
  // A copy has the class of the original, which TypeScript cannot express for slice().
  const halves = pairs.slice() as T;
  for (let to = 0; to < heads * headWidth; to++) {
    const within = to % headWidth;
    const from = to - within + 2 * (within % half) + Math.floor(within / half);
    halves.set(pairs.subarray(from * row, (from + 1) * row), to * row);
  }
  return halves;
}
