/** The bridge: Tinker's vocabulary as types, schemas and client interfaces. Depends on zod alone. */
export type { CallOptions, LossOptions, SampleOptions, SamplingClient, TrainingClient } from "./clients.js";
export {
  Datum,
  EncodedTextChunk,
  ModelInput,
  modelInputFromTokens,
  nextTokenDatum,
  TensorData,
  tokensOf,
} from "./datum.js";
export { type SampledSequence, type SampleOutput, SamplingParams, type StopReason } from "./sampling.js";
export {
  AdamParams,
  type ForwardBackwardOutput,
  LossFnConfig,
  LossFnName,
  type OptimStepOutput,
  TinkerLossFnName,
} from "./training.js";
