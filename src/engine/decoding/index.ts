/** Decoding: from logits to tokens. Pure mathematics over numbers; no model, no cache, no tokenizer. */
export {
  type Beam,
  type BeamOptions,
  type BeamState,
  type FinishedBeam,
  firstBeams,
  nextBeams,
} from "./beam.js";
export { type DrawParams, TokenDistribution } from "./distribution.js";
export { argmax, createDrawToken, type DrawnToken, type DrawToken } from "./draw.js";
export { logSumExp } from "./normalizer.js";
export { createStopStrings, type StopStrings } from "./stop-strings.js";
export { createTextStream, type Decode, type TextStream } from "./text-stream.js";
