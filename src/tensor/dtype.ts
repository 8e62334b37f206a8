/** Element types of host tensors and their sizes. Names are safetensors' in upper case elsewhere, ONNX's here. */

/** What the graph compiler and the sessions work with. */
export type DType = "float32" | "int64" | "int32" | "bool" | "uint8" | "uint16";

/** The typed array that holds each dtype on the host. Bools are bytes of 0 or 1. */
export interface ArrayOf {
  float32: Float32Array;
  int64: BigInt64Array;
  int32: Int32Array;
  bool: Uint8Array;
  uint8: Uint8Array;
  uint16: Uint16Array;
}

export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = {
  float32: 4,
  int64: 8,
  int32: 4,
  bool: 1,
  uint8: 1,
  uint16: 2,
};
