/** The element types of GGUF tensors and metadata, with ggml's numbers and sizes. */

export interface GgufTensorType {
  readonly id: number;
  readonly blockElements: number;
  readonly blockBytes: number;
}

/**
 * All types of ggml's `ggml_type`, so that a file's bounds can be checked even where a tensor cannot be decoded.
 * Sizes: ggml's block structs, as published in the gguf package's GGML_QUANT_SIZES.
 */
export const GGUF_TENSOR_TYPES = {
  F32: { id: 0, blockElements: 1, blockBytes: 4 },
  F16: { id: 1, blockElements: 1, blockBytes: 2 },
  Q4_0: { id: 2, blockElements: 32, blockBytes: 18 },
  Q4_1: { id: 3, blockElements: 32, blockBytes: 20 },
  Q5_0: { id: 6, blockElements: 32, blockBytes: 22 },
  Q5_1: { id: 7, blockElements: 32, blockBytes: 24 },
  Q8_0: { id: 8, blockElements: 32, blockBytes: 34 },
  Q8_1: { id: 9, blockElements: 32, blockBytes: 40 },
  Q2_K: { id: 10, blockElements: 256, blockBytes: 84 },
  Q3_K: { id: 11, blockElements: 256, blockBytes: 110 },
  Q4_K: { id: 12, blockElements: 256, blockBytes: 144 },
  Q5_K: { id: 13, blockElements: 256, blockBytes: 176 },
  Q6_K: { id: 14, blockElements: 256, blockBytes: 210 },
  Q8_K: { id: 15, blockElements: 256, blockBytes: 292 },
  IQ2_XXS: { id: 16, blockElements: 256, blockBytes: 66 },
  IQ2_XS: { id: 17, blockElements: 256, blockBytes: 74 },
  IQ3_XXS: { id: 18, blockElements: 256, blockBytes: 98 },
  IQ1_S: { id: 19, blockElements: 256, blockBytes: 50 },
  IQ4_NL: { id: 20, blockElements: 32, blockBytes: 18 },
  IQ3_S: { id: 21, blockElements: 256, blockBytes: 110 },
  IQ2_S: { id: 22, blockElements: 256, blockBytes: 82 },
  IQ4_XS: { id: 23, blockElements: 256, blockBytes: 136 },
  I8: { id: 24, blockElements: 1, blockBytes: 1 },
  I16: { id: 25, blockElements: 1, blockBytes: 2 },
  I32: { id: 26, blockElements: 1, blockBytes: 4 },
  I64: { id: 27, blockElements: 1, blockBytes: 8 },
  F64: { id: 28, blockElements: 1, blockBytes: 8 },
  IQ1_M: { id: 29, blockElements: 256, blockBytes: 56 },
  BF16: { id: 30, blockElements: 1, blockBytes: 2 },
  TQ1_0: { id: 34, blockElements: 256, blockBytes: 54 },
  TQ2_0: { id: 35, blockElements: 256, blockBytes: 66 },
  MXFP4: { id: 39, blockElements: 32, blockBytes: 17 },
} as const satisfies Record<string, GgufTensorType>;

export type GgufTensorTypeName = keyof typeof GGUF_TENSOR_TYPES;

/** The name of a type number, or undefined when ggml has no such type. */
export function ggufTensorTypeOf(id: number): GgufTensorTypeName | undefined {
  // Object.keys loses the key type that the literal table has.
  const names = Object.keys(GGUF_TENSOR_TYPES) as GgufTensorTypeName[];
  return names.find((name) => GGUF_TENSOR_TYPES[name].id === id);
}

/** Scalar metadata types in the order of their numbers. Strings are 8, arrays 9. */
export const GGUF_SCALARS = {
  uint8: { id: 0, bytes: 1 },
  int8: { id: 1, bytes: 1 },
  uint16: { id: 2, bytes: 2 },
  int16: { id: 3, bytes: 2 },
  uint32: { id: 4, bytes: 4 },
  int32: { id: 5, bytes: 4 },
  float32: { id: 6, bytes: 4 },
  bool: { id: 7, bytes: 1 },
  uint64: { id: 10, bytes: 8 },
  int64: { id: 11, bytes: 8 },
  float64: { id: 12, bytes: 8 },
} as const;

export type GgufScalarType = keyof typeof GGUF_SCALARS;
export const GGUF_STRING = 8;
export const GGUF_ARRAY = 9;

/** Arrays of numbers are typed arrays (bools are bytes of 0 or 1), so that they take no more than in the file. */
export type GgufNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

/** One metadata value with its type, as read and as written. 64-bit integers are bigints. */
export type GgufValue =
  | { readonly type: "uint64" | "int64"; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: Exclude<GgufScalarType, "uint64" | "int64" | "bool">; readonly value: number }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "array"; readonly of: GgufScalarType; readonly value: GgufNumbers }
  | { readonly type: "array"; readonly of: "string"; readonly value: readonly string[] }
  | { readonly type: "array"; readonly of: "array"; readonly value: readonly GgufValue[] };

/** The name of a scalar type number, or undefined. */
export function ggufScalarOf(id: number): GgufScalarType | undefined {
  const names = Object.keys(GGUF_SCALARS) as GgufScalarType[]; // as above
  return names.find((name) => GGUF_SCALARS[name].id === id);
}
