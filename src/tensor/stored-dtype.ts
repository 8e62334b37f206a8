/** Element types as safetensors files name them, and how each is decoded to float32 or encoded from it. */
import {
  bfloat16FromFloat32Into,
  float16FromFloat32Into,
  float32FromBfloat16Into,
  float32FromFloat16Into,
} from "./half.js";

/**
 * Bytes per element. The order is that of the safetensors library, largest alignment first:
 * it sorts tensors by it, then by name.
 */
export const STORED_DTYPES = {
  U64: 8,
  I64: 8,
  F64: 8,
  F32: 4,
  U32: 4,
  I32: 4,
  BF16: 2,
  F16: 2,
  U16: 2,
  I16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type StoredDType = keyof typeof STORED_DTYPES;

export function isStoredDType(name: string): name is StoredDType {
  return Object.hasOwn(STORED_DTYPES, name);
}

/** How elements, alone or in blocks, become float32. `identical` bytes are read straight into the target. */
export interface FloatDecoder {
  readonly blockElements: number;
  readonly blockBytes: number;
  readonly identical: boolean;
  /** Fills `target` from `source`, whose memory starts at an address divisible by 8. */
  decodeInto(target: Float32Array, source: Uint8Array): void;
}

/** The dtypes that can be read as float32. */
export const FLOAT_DECODERS: Partial<Record<StoredDType, FloatDecoder>> = {
  F32: scalarDecoder(4, (target, source) =>
    target.set(new Float32Array(source.buffer, source.byteOffset, target.length)),
  ),
  BF16: scalarDecoder(2, (target, source) =>
    float32FromBfloat16Into(target, new Uint16Array(source.buffer, source.byteOffset, target.length)),
  ),
  F16: scalarDecoder(2, (target, source) =>
    float32FromFloat16Into(target, new Uint16Array(source.buffer, source.byteOffset, target.length)),
  ),
  F64: scalarDecoder(8, (target, source) =>
    target.set(new Float64Array(source.buffer, source.byteOffset, target.length)),
  ),
};

/** How float32 numbers become the bytes of a dtype; the others are written from their own bytes only. */
export const FLOAT_ENCODERS: Partial<Record<StoredDType, (source: Float32Array) => Uint8Array>> = {
  F32: (source) => new Uint8Array(source.buffer, source.byteOffset, source.byteLength),
  BF16: (source) => {
    const halves = new Uint16Array(source.length);
    bfloat16FromFloat32Into(halves, source);
    return new Uint8Array(halves.buffer);
  },
  F16: (source) => {
    const halves = new Uint16Array(source.length);
    float16FromFloat32Into(halves, source);
    return new Uint8Array(halves.buffer);
  },
  F64: (source) => new Uint8Array(Float64Array.from(source).buffer),
};

function scalarDecoder(blockBytes: number, decodeInto: FloatDecoder["decodeInto"]): FloatDecoder {
  return { blockElements: 1, blockBytes, identical: blockBytes === 4, decodeInto };
}
