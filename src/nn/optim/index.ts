/** Optimizers: AdamW on WebAssembly memory, and clipping by global norm. */
export type { AdamwStep } from "./adamw.js";
export { clipCoefficient } from "./clip-coefficient.js";
export { createParameterArena, type ParameterArena, type ParameterArenaOptions } from "./parameter-arena.js";
