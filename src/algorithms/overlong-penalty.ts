/** DAPO's soft punishment of overlong answers. */

/**
 * What to add to a completion's reward, in −1 … 0.
 *
 *     0                                   |y| ≤ L_max − L_cache
 *     (L_max − L_cache − |y|) / L_cache   up to L_max
 *     −1                                  beyond
 *
 * Paper: DAPO, arXiv:2503.14476, equation 13, which has L_max 20480 and L_cache 4096. A completion is at least pushed to
 * end before the limit that would cut it off.
 */
export function overlongPenalty(
  length: number,
  { maxLength, cacheLength }: { readonly maxLength: number; readonly cacheLength: number },
): number {
  const soft = maxLength - cacheLength;
  if (length <= soft) return 0;
  return length <= maxLength && cacheLength > 0 ? (soft - length) / cacheLength : -1;
}
