/** Sampling: batched decoding over a cache of keys and values, its client and its worker. */

export type { SamplingModel } from "./model-runner.js";
export { openSampler, readAdapters, type SamplerInfo } from "./open-sampler.js";
export { answerSample, createSampleCall } from "./sample-call.js";
export type { SampleHooks, SampleRequest, TokenEvent } from "./sample-request.js";
export type {
  DecodeTokens,
  SamplerOptions,
  SamplingEngineOptions,
  SharedSamplerOptions,
  TrainerSamplerOptions,
} from "./sampler-options.js";
export { createSamplingClient, type EmbeddedSamplingClient } from "./sampling-client.js";
export { SamplingEngine } from "./sampling-engine.js";
