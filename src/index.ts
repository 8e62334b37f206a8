/**
 * Hone as a library: train language models from TypeScript. The rooms of the mathematics tower have doors of their
 * own: `hone-ai/graph`, `hone-ai/engine`; the words both towers speak are `hone-ai/protocol`.
 */
export * from "./base/index.js";
export * from "./datasets/index.js";
export {
  createTrainingClient,
  type EmbeddedTrainingClient,
  type EngineOptions,
  estimateMemory,
  type MemoryEstimate,
} from "./engine/index.js";
export * from "./envs/index.js";
export * from "./protocol/index.js";
export * from "./rewards/index.js";
export * from "./rollouts/index.js";
export * from "./runs/index.js";
export * from "./text/index.js";
export * from "./training/index.js";
