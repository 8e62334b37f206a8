/** The compiler: typed graphs, reverse mode, passes, and ONNX models for each provider. */
export { checkGradient, type GradientCheck, relativeGap } from "./check-gradient.js";
export { type CompileOptions, compile, optimise } from "./compile.js";
export { type Bindings, bindShapes, type Dim, multiplyDims, resolveShape, type Shape } from "./dim.js";
export { gradient } from "./gradient.js";
export type { Graph, Lowering, Node, Op, ReferenceArray, Value, ValueType } from "./graph.js";
export { applyAll, nodesOf } from "./graph.js";
export { peakBytes } from "./memory.js";
export { emitOnnx, type NamedValue, type OnnxModel } from "./onnx/emit.js";
export { ONNX_TYPE } from "./onnx/proto.js";
export * from "./ops/index.js";
export { commonSubgraphs } from "./passes/common-subgraphs.js";
export { decompose } from "./passes/decompose.js";
export { fuseLogprobs } from "./passes/fuse-logprobs.js";
export { fuseSummands } from "./passes/fuse-summands.js";
export { recompute } from "./passes/recompute.js";
export { print } from "./print.js";
export { evaluate } from "./reference.js";
export { verify } from "./verify.js";
