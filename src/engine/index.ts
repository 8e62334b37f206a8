/** Holds weights and runs graphs: the embedded implementation of the protocol's clients. */
export { type Adapter, isAdapterFolder, readAdapter, writeAdapter } from "./adapter-files.js";
export { createTrainingClient, type EmbeddedTrainingClient } from "./client.js";
export { createTextStream, type TextStream } from "./decoding/index.js";
export { type EstimateShape, estimateMemory, type MemoryEstimate } from "./memory-estimate.js";
export type { EngineOptions, LoraOptions, ModelSourceOptions, QuantiseOptions } from "./options.js";
export {
  createSamplingClient,
  type DecodeTokens,
  type EmbeddedSamplingClient,
  openSampler,
  type SampleHooks,
  type SampleRequest,
  type SamplerInfo,
  type SamplerOptions,
  SamplingEngine,
  type SamplingEngineOptions,
  type TokenEvent,
  type TrainerSamplerOptions,
} from "./sampling/index.js";
export type { ScoredSequence } from "./scored-sequence.js";
export {
  createRuntime,
  createStockRuntime,
  type NamedTensors,
  type Runtime,
  type Session,
} from "./session/index.js";
export { type EngineInfo, TrainingEngine } from "./training-engine.js";
export { readModelConfig } from "./weight-source.js";
