/**
 * From ggml's quantised blocks to float32, one formula per type (ggml-quants.c is the specification).
 *
 * d and m are float16, q the stored integer, s and t the 6-bit scale and minimum of a sub-block:
 *
 *     Q8_0            w = d q                 q int8, 32 per block
 *     Q4_0, Q5_0      w = d (q - 8), d (q - 16)
 *     Q4_1, Q5_1      w = d q + m
 *     Q4_K, Q5_K      w = d s q - m t         8 sub-blocks of 32
 *     Q6_K            w = d s (q - 32)        16 sub-blocks of 16, s int8
 *
 * The types that a Q4_0, Q4_K_M or Q5_K_M file contains are here: Q6_K for the sensitive matrices, Q5_0 and Q8_0
 * where a row is no multiple of 256. Written here because @huggingface/gguf reads headers only, and fetches them:
 * its parser would bring no decoding, and no bound on what a lying header makes it allocate.
 */
import { GGUF_TENSOR_TYPES, type GgufTensorTypeName } from "./gguf-types.js";
import { float32FromFloat16 } from "./half.js";
import { FLOAT_DECODERS, type FloatDecoder } from "./stored-dtype.js";

/** The types that can be read as float32. */
export const GGUF_DECODERS: Partial<Record<GgufTensorTypeName, FloatDecoder>> = {
  F32: FLOAT_DECODERS.F32!,
  F16: FLOAT_DECODERS.F16!,
  BF16: FLOAT_DECODERS.BF16!,
  F64: FLOAT_DECODERS.F64!,
  Q8_0: blockDecoder("Q8_0", decodeQ8_0),
  Q4_0: blockDecoder("Q4_0", decodeQ4_0),
  Q4_1: blockDecoder("Q4_1", decodeQ4_1),
  Q5_0: blockDecoder("Q5_0", (y, at, x, from) => decodeQ5(y, at, x, { from, hasMinimum: false })),
  Q5_1: blockDecoder("Q5_1", (y, at, x, from) => decodeQ5(y, at, x, { from, hasMinimum: true })),
  Q4_K: blockDecoder("Q4_K", (y, at, x, from) => decodeK(y, at, x, { from, hasHighBits: false })),
  Q5_K: blockDecoder("Q5_K", (y, at, x, from) => decodeK(y, at, x, { from, hasHighBits: true })),
  Q6_K: blockDecoder("Q6_K", decodeQ6K),
};

/** Writes the elements of the block at `from` in `x` to `y`, starting at `at`. */
type BlockDecoder = (y: Float32Array, at: number, x: Uint8Array, from: number) => void;

function blockDecoder(type: GgufTensorTypeName, decodeBlock: BlockDecoder): FloatDecoder {
  const { blockElements, blockBytes } = GGUF_TENSOR_TYPES[type];
  return {
    blockElements,
    blockBytes,
    identical: false,
    decodeInto(target, source) {
      const blocks = target.length / blockElements;
      for (let i = 0; i < blocks; i++) decodeBlock(target, i * blockElements, source, i * blockBytes);
    },
  };
}

function halfAt(x: Uint8Array, from: number): number {
  return float32FromFloat16(x[from]! | (x[from + 1]! << 8));
}

function decodeQ8_0(y: Float32Array, at: number, x: Uint8Array, from: number): void {
  const d = halfAt(x, from);
  for (let i = 0; i < 32; i++) y[at + i] = d * ((x[from + 2 + i]! << 24) >> 24);
}

/** Byte i holds element i in its low half and element i + 16 in its high half. */
function decodeQ4_0(y: Float32Array, at: number, x: Uint8Array, from: number): void {
  const d = halfAt(x, from);
  for (let i = 0; i < 16; i++) {
    const byte = x[from + 2 + i]!;
    y[at + i] = d * ((byte & 15) - 8);
    y[at + i + 16] = d * ((byte >> 4) - 8);
  }
}

function decodeQ4_1(y: Float32Array, at: number, x: Uint8Array, from: number): void {
  const d = halfAt(x, from);
  const m = halfAt(x, from + 2);
  for (let i = 0; i < 16; i++) {
    const byte = x[from + 4 + i]!;
    y[at + i] = Math.fround(d * (byte & 15)) + m;
    y[at + i + 16] = Math.fround(d * (byte >> 4)) + m;
  }
}

/** As Q4, with the fifth bit of element i in bit i of a 32-bit word. */
function decodeQ5(
  y: Float32Array,
  at: number,
  x: Uint8Array,
  { from, hasMinimum }: { from: number; hasMinimum: boolean },
): void {
  const d = halfAt(x, from);
  const m = hasMinimum ? halfAt(x, from + 2) : 0;
  const offset = hasMinimum ? 0 : 16;
  const high = from + (hasMinimum ? 4 : 2);
  const word = x[high]! | (x[high + 1]! << 8) | (x[high + 2]! << 16) | (x[high + 3]! << 24);
  for (let i = 0; i < 16; i++) {
    const byte = x[high + 4 + i]!;
    const low = (byte & 15) | (((word >>> i) & 1) << 4);
    const upper = (byte >> 4) | (((word >>> (i + 16)) & 1) << 4);
    y[at + i] = Math.fround(d * (low - offset)) + m;
    y[at + i + 16] = Math.fround(d * (upper - offset)) + m;
  }
}

/**
 * Block: d, m, 12 bytes of eight (s, t), for Q5_K 32 bytes of fifth bits, 128 bytes of 4-bit numbers.
 * Sub-blocks 2j and 2j+1 are the low and high halves of 32 bytes; their fifth bits are bits 2j and 2j+1.
 */
function decodeK(
  y: Float32Array,
  at: number,
  x: Uint8Array,
  { from, hasHighBits }: { from: number; hasHighBits: boolean },
): void {
  const d = halfAt(x, from);
  const m = halfAt(x, from + 2);
  const packed = from + 4;
  const high = packed + 12;
  const low = high + (hasHighBits ? 32 : 0);
  for (let sub = 0; sub < 8; sub++) {
    // The first four pairs have six bits of their own; the last four borrow the first four's top two.
    const a = x[packed + (sub & 3)]!;
    const b = x[packed + 4 + (sub & 3)]!;
    const c = x[packed + 8 + (sub & 3)]!;
    const scale = Math.fround(d * (sub < 4 ? a & 63 : (c & 15) | ((a >> 6) << 4)));
    const minimum = Math.fround(m * (sub < 4 ? b & 63 : (c >> 4) | ((b >> 6) << 4)));
    const bytes = low + (sub >> 1) * 32;
    const shift = (sub & 1) * 4;
    for (let i = 0; i < 32; i++) {
      const fifth = hasHighBits ? ((x[high + i]! >> sub) & 1) << 4 : 0;
      const q = ((x[bytes + i]! >> shift) & 15) | fifth;
      y[at + sub * 32 + i] = Math.fround(scale * q) - minimum;
    }
  }
}

/**
 * Block: 128 bytes of low halves, 64 of the upper two bits, 16 scales, d. Each half of 128 elements has 64 low
 * bytes and 32 upper bytes; its quarter k takes bits 2k of the upper bytes and, from k = 2, the high half-bytes.
 */
function decodeQ6K(y: Float32Array, at: number, x: Uint8Array, from: number): void {
  const scales = from + 192;
  const d = halfAt(x, from + 208);
  for (let element = 0; element < 256; element++) {
    const half = element >> 7;
    const quarter = (element >> 5) & 3;
    const i = element & 31;
    const low = x[from + half * 64 + (quarter & 1) * 32 + i]! >> ((quarter >> 1) * 4);
    const upper = x[from + 128 + half * 32 + i]! >> (quarter * 2);
    const q = ((low & 15) | ((upper & 3) << 4)) - 32;
    const scale = Math.fround(d * ((x[scales + (element >> 4)]! << 24) >> 24));
    y[at + element] = scale * q;
  }
}
