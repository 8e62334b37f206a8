/** Random inputs, and the two ways a kernel's numbers are judged: against float64, and by central differences. */
import { expect } from "vitest";
import type { Random } from "../../src/base/index.js";

/** `count` draws of the standard normal distribution, times `scale`. */
export function normals(random: Random, count: number, scale = 1): Float32Array {
  return Float32Array.from({ length: count }, () => random.normal() * scale);
}

/** Expects every number within `tolerance` of the reference, relative to the reference's largest number. */
export function expectClose(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
): void {
  expect(actual.length, `${what}: length`).toBe(expected.length);
  let largest = 0;
  let worst = 0;
  let at = 0;
  for (let i = 0; i < expected.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i]!));
    const error = Math.abs(actual[i]! - expected[i]!);
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
  }
  expect(
    worst / Math.max(largest, 1e-30),
    `${what}: worst at ${at}, ${actual[at]} where float64 has ${expected[at]}`,
  ).toBeLessThan(tolerance);
}

/**
 * Expects `gradient` to be the derivative of `loss` with respect to `input`: along one random direction, which no wrong
 * entry escapes, and at `samples` single entries. The differences are of float64 numbers.
 */
export function expectGradient(
  what: string,
  random: Random,
  input: Float32Array,
  gradient: Float32Array,
  loss: (input: Float64Array) => number,
  { samples = 6, tolerance = 1e-5 }: { readonly samples?: number; readonly tolerance?: number } = {},
): void {
  const at = Float64Array.from(input);
  const slope = (direction: Float64Array): number => {
    const step = 1e-4;
    const up = loss(at.map((x, i) => x + step * direction[i]!));
    return (up - loss(at.map((x, i) => x - step * direction[i]!))) / (2 * step);
  };
  const norm = Math.hypot(...gradient);
  const direction = Float64Array.from(input, () => random.normal());
  const along = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
  expect(Math.abs(along - slope(direction)) / norm, `${what}: along a random direction`).toBeLessThan(
    tolerance,
  );
  for (let n = 0; n < samples; n++) {
    const entry = random.integer(input.length);
    const single = new Float64Array(input.length);
    single[entry] = 1;
    expect(Math.abs(gradient[entry]! - slope(single)) / norm, `${what}: entry ${entry}`).toBeLessThan(
      tolerance,
    );
  }
}

/** The sum of products, in double precision. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** The upper halves of floats: bf16, cut off rather than rounded. */
export function bf16Of(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; i++) halves[i] = bits[i]! >>> 16;
  return halves;
}

/** The floats that bf16 numbers are. */
export function widened(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < bits.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}
