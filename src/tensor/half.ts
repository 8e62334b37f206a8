/**
 * float32 to and from the two 16-bit formats, by integer arithmetic on the bits (no tables, no state).
 * Rounding is to nearest, ties to even; NaN stays NaN, values past the largest finite become infinities,
 * and float16 subnormals are kept in both directions.
 */

/** Writes the float32 value of every bfloat16 in `source` to `target`; both must be equally long. */
export function float32FromBfloat16Into(target: Float32Array, source: Uint16Array): void {
  expectEqualLengths(target, source);
  const bits = new Int32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < source.length; i++) bits[i] = source[i]! << 16;
}

/** Writes the float32 value of every float16 in `source` to `target`; both must be equally long. */
export function float32FromFloat16Into(target: Float32Array, source: Uint16Array): void {
  expectEqualLengths(target, source);
  const bits = new Int32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < source.length; i++) {
    const half = source[i]!;
    const exponent = half & 0x7c00;
    // A normal number: move exponent and mantissa up, and the bias from 15 to 127.
    if (exponent !== 0 && exponent !== 0x7c00) {
      bits[i] = ((half & 0x8000) << 16) | (((half & 0x7fff) << 13) + 0x38000000);
    } else {
      bits[i] = float32BitsOfSpecial(half);
    }
  }
}

/** Rounds every float32 of `source` to bfloat16 bits in `target`; both must be equally long. */
export function bfloat16FromFloat32Into(target: Uint16Array, source: Float32Array): void {
  expectEqualLengths(target, source);
  const bits = new Int32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!;
    const isNotANumber = (x & 0x7fffffff) > 0x7f800000;
    // Half a unit, less one when the kept part is even: a tie then rounds to even. NaN is made quiet instead.
    target[i] = isNotANumber ? (x >>> 16) | 0x0040 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
}

/** Rounds every float32 of `source` to float16 bits in `target`; both must be equally long. */
export function float16FromFloat32Into(target: Uint16Array, source: Float32Array): void {
  expectEqualLengths(target, source);
  const bits = new Int32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!;
    const magnitude = x & 0x7fffffff;
    const sign = (x >>> 16) & 0x8000;
    if (magnitude >= 0x38800000 && magnitude < 0x47800000) {
      // From 2⁻¹⁴ to below 2¹⁶; a carry out of the largest finite value gives infinity's bits by itself.
      target[i] = sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
    } else {
      target[i] = sign | float16BitsOfSpecial(magnitude);
    }
  }
}

/** The float32 value of one float16, given as its bits. */
export function float32FromFloat16(half: number): number {
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 0x1f) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** The float16 bits nearest to one number, which is rounded to float32 first. */
export function float16FromFloat32(value: number): number {
  const bits = new Uint16Array(1);
  float16FromFloat32Into(bits, Float32Array.of(value));
  return bits[0]!;
}

/** Zero, subnormals (mantissa · 2⁻²⁴, normal in float32), infinities and NaN. */
function float32BitsOfSpecial(half: number): number {
  const sign = (half & 0x8000) << 16;
  const mantissa = half & 0x3ff;
  if ((half & 0x7c00) !== 0) return sign | 0x7f800000 | (mantissa << 13);
  if (mantissa === 0) return sign;
  const leadingBit = 31 - Math.clz32(mantissa);
  return sign | ((103 + leadingBit) << 23) | ((mantissa << (23 - leadingBit)) & 0x7fffff);
}

/** Magnitudes below 2⁻¹⁴ (subnormal in float16) and from 2¹⁶ up (infinity or NaN). */
function float16BitsOfSpecial(magnitude: number): number {
  if (magnitude > 0x7f800000) return 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  if (magnitude >= 0x47800000) return 0x7c00;
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return 0; // below 2⁻²⁵, half the smallest subnormal
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (kept & 1) === 1) ? kept + 1 : kept;
}

function expectEqualLengths(target: ArrayLike<number>, source: ArrayLike<number>): void {
  if (target.length !== source.length) {
    throw new RangeError(
      `Cannot convert ${source.length} numbers into ${target.length} places, expected equally many`,
    );
  }
}
