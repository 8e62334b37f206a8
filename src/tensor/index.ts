/** Host arrays and the files that hold them. */
export { type ByteFile, type ByteSink, openByteFile, writeFileAside } from "./byte-file.js";
export { type ArrayOf, BYTES_PER_ELEMENT, type DType } from "./dtype.js";
export { type GgufFile, openGguf } from "./gguf.js";
export type { GgufEntry } from "./gguf-header.js";
export type { GgufScalarType, GgufTensorTypeName, GgufValue } from "./gguf-types.js";
export { type GgufTensorToWrite, type WritableGgufType, writeGguf } from "./gguf-writer.js";
export {
  bfloat16FromFloat32Into,
  float16FromFloat32Into,
  float32FromBfloat16Into,
  float32FromFloat16Into,
} from "./half.js";
export {
  createQuantisedMatrix,
  dequantise,
  dequantiseRowsInto,
  type QuantBlock,
  type QuantisedMatrix,
  type QuantiseOptions,
  quantise,
  quantisedFromQ4_0,
  quantiseFromFile,
  quantiseRowsInto,
} from "./quantise.js";
export { openSafetensors, type SafetensorsFile } from "./safetensors.js";
export type { SafetensorsEntry } from "./safetensors-header.js";
export {
  type ShardedWriteOptions,
  type TensorArray,
  type TensorToWrite,
  writeSafetensors,
  writeShardedSafetensors,
} from "./safetensors-writer.js";
export { STORED_DTYPES, type StoredDType } from "./stored-dtype.js";
export { type HostTensor, hostTensor, sizeOf } from "./tensor.js";
export { firstNonFinite, type ReadOptions, type TensorEntry, type TensorFile } from "./tensor-file.js";
