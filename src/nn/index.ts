/** Models as graphs, adapters, heads, optimizers, and the files other programs keep models in. */
export * from "./convert/index.js";
export { rewardHead, valueHead } from "./heads.js";
export { initialiseParameter } from "./initialise.js";
export {
  frozenParameters,
  initialiseLora,
  type LoraConfig,
  loraNames,
  loraParameters,
  loraScaling,
  resolveTargets,
  trainableParameters,
} from "./lora.js";
export { type ModelConfig, type ModelFamily, parseModelConfig } from "./model-config.js";
export {
  type Attend,
  attendWithin,
  type DecoderInputs,
  type DecoderWeights,
  decoderHidden,
  decoderLogits,
  decoderLogprobs,
  decoderLogprobsEntropy,
} from "./models/decoder.js";
export * from "./optim/index.js";
export {
  headName,
  type Parameter,
  PROJECTIONS,
  type Projection,
  parameterCount,
  parametersOf,
  projectionShape,
  SCORE,
} from "./parameters.js";
export { haveSameAngles, inverseFrequencies, type RopeConfig, ropeTables } from "./rope.js";
