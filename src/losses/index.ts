/** Formula room: one file per loss of the protocol. */
export type { Loss, LossArguments } from "./loss.js";
export { LOSSES } from "./losses.js";
export { readLoss } from "./read-loss.js";
