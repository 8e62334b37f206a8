/** One-line shape checks at a room's door, with axes named as the shape suffix names them (docs/notation.md). */

/**
 * Throws unless `shape` equals `axes` in order.
 *
 * @example expectShape("logits_BTV", [8, 127, 50257], { B: 8, T: 128, V: 50257 })
 * // Cannot use logits_BTV of shape [8, 127, 50257], expected [B=8, T=128, V=50257]: axis T differs
 */
export function expectShape(
  name: string,
  shape: readonly number[],
  axes: Readonly<Record<string, number>>,
): void {
  const expected = Object.entries(axes);
  const wrong = expected.find(([, size], i) => shape[i] !== size);
  if (shape.length === expected.length && wrong === undefined) return;
  const wanted = expected.map(([axis, size]) => `${axis}=${size}`).join(", ");
  const reason = shape.length !== expected.length ? "rank differs" : `axis ${wrong![0]} differs`;
  throw new RangeError(`Cannot use ${name} of shape [${shape.join(", ")}], expected [${wanted}]: ${reason}`);
}
