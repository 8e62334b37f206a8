/** Every op by name. The conformance suites walk this table, so an op that is not here does not exist. */
import { Attention, AttentionGrad } from "./attention.js";
import { Widen } from "./bfloat16.js";
import { Expand, Max, Sum } from "./broadcast.js";
import { DecodeAttention } from "./decode-attention.js";
import {
  Add,
  And,
  Cast,
  Checkpoint,
  Div,
  Equal,
  Exp,
  LessOrEqual,
  Log,
  Maximum,
  Minimum,
  Mul,
  Neg,
  Reciprocal,
  Sigmoid,
  Sqrt,
  StopGradient,
  Sub,
  Tanh,
  Where,
} from "./elementwise.js";
import { GatherRows, PickColumns, ScatterAddRows, SpreadColumns } from "./gather.js";
import { Concat, Slice } from "./join.js";
import { Constant, Input } from "./leaves.js";
import { Logprobs, LogprobsGrad, LogprobsWithGrad } from "./logprobs.js";
import { LogprobsEntropy, LogprobsEntropyGrad } from "./logprobs-entropy.js";
import { Matmul } from "./matmul.js";
import { MatmulSharing } from "./matmul-sharing.js";
import { Reshape, Transpose } from "./movement.js";
import { RmsNorm, RmsNormGrad } from "./norm.js";
import { PackPanels, PanelMatmul } from "./panels.js";
import { BytesToFloat, Dequantise, QuantisedMatmul, UnpackNibbles } from "./quantised.js";
import { Rotary } from "./rotary.js";
import { Softmax } from "./softmax.js";
import { Swiglu, SwigluGrad } from "./swiglu.js";

export const OPS = {
  input: Input,
  constant: Constant,
  add: Add,
  sub: Sub,
  mul: Mul,
  div: Div,
  minimum: Minimum,
  maximum: Maximum,
  neg: Neg,
  exp: Exp,
  log: Log,
  sqrt: Sqrt,
  reciprocal: Reciprocal,
  sigmoid: Sigmoid,
  tanh: Tanh,
  stopGradient: StopGradient,
  checkpoint: Checkpoint,
  lessOrEqual: LessOrEqual,
  equal: Equal,
  and: And,
  where: Where,
  cast: Cast,
  reshape: Reshape,
  transpose: Transpose,
  expand: Expand,
  slice: Slice,
  concat: Concat,
  widen: Widen,
  sum: Sum,
  max: Max,
  matmul: Matmul,
  matmulSharing: MatmulSharing,
  gatherRows: GatherRows,
  scatterAddRows: ScatterAddRows,
  pickColumns: PickColumns,
  spreadColumns: SpreadColumns,
  softmax: Softmax,
  rmsNorm: RmsNorm,
  rmsNormGrad: RmsNormGrad,
  swiglu: Swiglu,
  swigluGrad: SwigluGrad,
  rotary: Rotary,
  attention: Attention,
  attentionGrad: AttentionGrad,
  decodeAttention: DecodeAttention,
  logprobs: Logprobs,
  logprobsGrad: LogprobsGrad,
  logprobsWithGrad: LogprobsWithGrad,
  logprobsEntropy: LogprobsEntropy,
  logprobsEntropyGrad: LogprobsEntropyGrad,
  dequantise: Dequantise,
  unpackNibbles: UnpackNibbles,
  bytesToFloat: BytesToFloat,
  quantisedMatmul: QuantisedMatmul,
  packPanels: PackPanels,
  panelMatmul: PanelMatmul,
} as const;

export {
  type AttentionAttributes,
  type AttentionLayout,
  attention,
  attentionNeedsRows,
} from "./attention.js";
export { widen } from "./bfloat16.js";
export { expand, max, sum, sumAll } from "./broadcast.js";
export {
  CACHE_PAGE,
  type CacheLayout,
  type CachePages,
  type DecodeAttentionAttributes,
  decodeAttention,
} from "./decode-attention.js";
export {
  add,
  and,
  cast,
  checkpoint,
  clamp,
  div,
  equal,
  exp,
  lessOrEqual,
  log,
  maximum,
  minimum,
  mul,
  neg,
  type Operand,
  reciprocal,
  sigmoid,
  sqrt,
  stopGradient,
  sub,
  tanh,
  where,
  zeros,
} from "./elementwise.js";
export { gatherRows, pickColumns, scatterAddRows } from "./gather.js";
export { concat, slice } from "./join.js";
export { constant, input, scalar } from "./leaves.js";
export { logprobs } from "./logprobs.js";
export { logprobsEntropy } from "./logprobs-entropy.js";
export { linear, type MatmulAttributes, matmul, scale } from "./matmul.js";
export { reshape, transpose } from "./movement.js";
export { rmsNorm } from "./norm.js";
export { type PanelWeight, packPanels, panelInput, panelLinear } from "./panels.js";
export { type QuantisedWeight, quantisedLinear } from "./quantised.js";
export { rotary } from "./rotary.js";
export { logSumExp, softmax } from "./softmax.js";
export { swiglu } from "./swiglu.js";
