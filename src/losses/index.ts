/** Formula room: one file per loss of the protocol. */
export { datumTitle, expectWholeExamples, numberAtAnswer } from "./coupled-datums.js";
export type { Loss, LossArguments } from "./loss.js";
export { LOSSES } from "./losses.js";
export { reducedMetric } from "./metric-reductions.js";
export { readLoss } from "./read-loss.js";
export { forwardBackwardInTwoPasses, type TwoPassEngine, twoPassClient } from "./two-pass.js";
