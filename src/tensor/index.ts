/** Host arrays and the files that hold them. */
export { type ArrayOf, BYTES_PER_ELEMENT, type DType } from "./dtype.js";
export { type HostTensor, hostTensor, sizeOf } from "./tensor.js";
