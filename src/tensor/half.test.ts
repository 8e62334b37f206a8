import fc from "fast-check";
import { expect, it } from "vitest";
import {
  bfloat16FromFloat32Into,
  float16FromFloat32,
  float16FromFloat32Into,
  float32FromBfloat16Into,
  float32FromFloat16,
  float32FromFloat16Into,
} from "./half.js";

const ALL = Uint16Array.from({ length: 65536 }, (_, i) => i);

function float32OfBits(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!;
}

function bfloat16(value: number): number {
  const target = new Uint16Array(1);
  bfloat16FromFloat32Into(target, Float32Array.of(value));
  return target[0]!;
}

it("float32FromFloat16Into() gives (-1)^s 2^(e-15) (1 + m/1024) for all 65,536 patterns, subnormals and specials too", () => {
  const values = new Float32Array(65536);
  float32FromFloat16Into(values, ALL);
  for (const half of ALL) {
    const [sign, exponent, mantissa] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
    let expected = sign * 2 ** (exponent - 15) * (1 + mantissa / 1024);
    if (exponent === 0) expected = sign * 2 ** -14 * (mantissa / 1024);
    if (exponent === 31) expected = mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    expect(Object.is(values[half], expected)).toBe(true);
    expect(Object.is(float32FromFloat16(half), expected)).toBe(true);
  }
});

it("float32FromBfloat16Into() puts the 16 bits on top of 16 zeros", () => {
  const values = new Float32Array(65536);
  float32FromBfloat16Into(values, ALL);
  const bits = new Uint32Array(values.buffer);
  expect(ALL.every((half) => bits[half] === half * 65536)).toBe(true);
});

it("both formats survive the way to float32 and back, bit for bit, except that NaNs become quiet", () => {
  const values = new Float32Array(65536);
  const back = new Uint16Array(65536);
  float32FromFloat16Into(values, ALL);
  float16FromFloat32Into(back, values);
  expect(ALL.every((half) => back[half] === (Number.isNaN(values[half]) ? half | 0x0200 : half))).toBe(true);
  float32FromBfloat16Into(values, ALL);
  bfloat16FromFloat32Into(back, values);
  expect(ALL.every((half) => back[half] === (Number.isNaN(values[half]) ? half | 0x0040 : half))).toBe(true);
});

/** The nearest of all finite float16 values by search; ties to the even pattern, past 65,520 infinity. */
function nearestFloat16(value: number): number {
  const magnitude = Math.abs(value);
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  if (magnitude >= 65520) return sign | 0x7c00;
  let low = 0;
  let high = 0x7bff;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (float32FromFloat16(middle) <= magnitude) low = middle;
    else high = middle;
  }
  const below = magnitude - float32FromFloat16(low);
  const above = float32FromFloat16(high) - magnitude;
  const pick = below < above || (below === above && (low & 1) === 0) ? low : high;
  return sign | pick;
}

it("float16FromFloat32() rounds every float32 to the nearest float16, ties to even", () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, min: -70000, max: 70000 }), (value) => {
      expect(float16FromFloat32(value)).toBe(nearestFloat16(value));
    }),
    { seed: 1, numRuns: 3000 },
  );
});

it("float16FromFloat32() rounds exact midpoints between neighbours, and the numbers beside them, as IEEE says", () => {
  for (let half = 0; half < 0x7bff; half++) {
    const middle = (float32FromFloat16(half) + float32FromFloat16(half + 1)) / 2;
    const bits = new Uint32Array(Float32Array.of(middle).buffer)[0]!;
    expect(float16FromFloat32(middle)).toBe(half + (half & 1));
    expect(float16FromFloat32(float32OfBits(bits - 1))).toBe(half);
    expect(float16FromFloat32(-float32OfBits(bits + 1))).toBe(0x8000 | (half + 1));
  }
});

it.each([
  [65504, 0x7bff, "the largest finite float16"],
  [65519.996, 0x7bff, "just below the midpoint to 65,536"],
  [65520, 0x7c00, "the midpoint goes to the even infinity"],
  [-1e38, 0xfc00, "far too large"],
  [2 ** -24, 0x0001, "the smallest subnormal"],
  [2 ** -25, 0x0000, "half of it ties to zero"],
  [2 ** -25 * 1.0001, 0x0001, "just above half of it"],
  [-(2 ** -26), 0x8000, "negative zero keeps its sign"],
])("float16FromFloat32(%d) is %d: %s", (value, expected) => {
  expect(float16FromFloat32(value)).toBe(expected);
});

it.each([
  [0x3f808000, 0x3f80, "a tie below an even pattern stays"],
  [0x3f818000, 0x3f82, "a tie below an odd pattern goes up"],
  [0x3f808001, 0x3f81, "above the tie goes up"],
  [0x7f7fffff, 0x7f80, "the largest float32 becomes infinity"],
  [0xff7fffff, 0xff80, "and its negative, negative infinity"],
  [0x00008000, 0x0000, "a subnormal tie goes to zero"],
  [0x00008001, 0x0001, "subnormals are kept"],
  [0x7f800001, 0x7fc0, "a signalling NaN does not become infinity"],
  [0xffffffff, 0xffff, "NaN keeps its sign"],
])("bfloat16FromFloat32Into() turns bits %i into %i: %s", (bits, expected) => {
  const target = new Uint16Array(1);
  bfloat16FromFloat32Into(target, new Float32Array(Uint32Array.of(bits).buffer));
  expect(target[0]).toBe(expected);
});

it("bfloat16FromFloat32Into() picks the nearer neighbour for every float32", () => {
  const values = new Float32Array(3);
  fc.assert(
    fc.property(fc.float({ noNaN: true, min: Math.fround(-3e38), max: Math.fround(3e38) }), (value) => {
      const half = bfloat16(value);
      float32FromBfloat16Into(values, Uint16Array.of(half - 1, half, half + 1));
      const error = Math.abs(values[1]! - value);
      if ((half & 0x7fff) !== 0) expect(error).toBeLessThanOrEqual(Math.abs(values[0]! - value));
      expect(error).toBeLessThanOrEqual(Math.abs(values[2]! - value));
    }),
    { seed: 2, numRuns: 3000 },
  );
});

it("conversions refuse arrays of different lengths", () => {
  expect(() => float32FromBfloat16Into(new Float32Array(2), new Uint16Array(3))).toThrow(
    "Cannot convert 3 numbers into 2 places, expected equally many",
  );
});
