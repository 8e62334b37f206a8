/** `zip` that throws on unequal lengths, because truncating data silently is how masks go wrong. */
export function zip<A, B>(left: ArrayLike<A>, right: ArrayLike<B>, what = "arrays"): [A, B][] {
  if (left.length !== right.length) {
    throw new RangeError(
      `Cannot zip ${what}: lengths ${left.length} and ${right.length} differ, expected equal`,
    );
  }
  return Array.from(left, (value, i) => [value, right[i] as B]);
}
