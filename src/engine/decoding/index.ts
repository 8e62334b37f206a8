/** Decoding: from logits to tokens. Pure mathematics over numbers; no model, no cache, no text. */
export { type DrawParams, TokenDistribution } from "./distribution.js";
export { argmax, createDrawToken, type DrawnToken, type DrawToken, logSumExp } from "./draw.js";
