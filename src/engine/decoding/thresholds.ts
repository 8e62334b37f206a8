/** Where truncated sampling cuts: the k-th greatest score, and the edge of the nucleus. Neither sorts a vocabulary. */

/** Finds the k-th greatest of `values`, counted with repeats; -Infinity when `values` has fewer than k. */
export function kthGreatest(values: Float32Array, k: number, scratch: Float32Array): number {
  // Collects what is above the bar; when 2k are there, keeps the greatest k and raises the bar.
  const capacity = Math.min(scratch.length, Math.max(2 * k, 64));
  let bar = Number.NEGATIVE_INFINITY;
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!(value > bar)) continue;
    scratch[count++] = value;
    if (count < capacity) continue;
    if (count <= k) break;
    scratch.subarray(0, count).sort();
    scratch.copyWithin(0, count - k, count);
    bar = scratch[0]!;
    count = k;
  }
  if (count < k) return Number.NEGATIVE_INFINITY;
  return scratch.subarray(0, count).sort()[count - k]!;
}

/** What top-p keeps: weights above `weight`, and the first `ties` of those equal to it. */
export interface NucleusEdge {
  readonly weight: number;
  readonly ties: number;
}

/** Buckets of the histogram: 32 to an octave, over 64 octaves. The last one also holds what is smaller still. */
const BUCKETS = 2048;
/** Of a float64's upper word, 20 bits are of the fraction; 5 of them are kept. */
const DROPPED_BITS = 15;
const UPPER_WORD_OF_ONE = 0x3ff00000;

/** Memory for `nucleusEdge`, made once for a vocabulary. */
export interface NucleusScratch {
  readonly masses: Float64Array;
  readonly members: Float64Array;
}

export const createNucleusScratch = (size: number): NucleusScratch => ({
  masses: new Float64Array(BUCKETS),
  members: new Float64Array(size),
});

/**
 * The edge of top-p among the first `count` of `weights`, by transformers' rule: from the smallest up, weights are left
 * out as long as what is left out is at most `allowed`, 1 - p of the sum. So the one that crosses p stays, and so does the
 * greatest. Of equal weights the first stay; transformers leaves that to an unstable sort.
 *
 * Weights lie in [0, 1] and the greatest is 1. A histogram over their exponents and first bits finds the bucket of the
 * edge; only that bucket is sorted.
 */
export function nucleusEdge(
  weights: Float64Array,
  count: number,
  allowed: number,
  { masses, members }: NucleusScratch,
): NucleusEdge {
  const words = new Uint32Array(weights.buffer, weights.byteOffset, 2 * count);
  const bucketOf = (i: number): number =>
    Math.min((UPPER_WORD_OF_ONE - words[2 * i + 1]!) >> DROPPED_BITS, BUCKETS - 1);

  masses.fill(0);
  for (let i = 0; i < count; i++) masses[bucketOf(i)]! += weights[i]!;
  let removed = 0;
  let bucket = BUCKETS - 1;
  while (bucket > 0 && removed + masses[bucket]! <= allowed) removed += masses[bucket--]!;

  let size = 0;
  for (let i = 0; i < count; i++) if (bucketOf(i) === bucket) members[size++] = weights[i]!;
  const sorted = members.subarray(0, size).sort();
  let at = 0;
  while (at < size - 1 && removed + sorted[at]! <= allowed) removed += sorted[at++]!;
  const weight = sorted[at]!;
  let ties = 1;
  while (sorted[at + ties] === weight) ties++;
  return { weight, ties };
}
