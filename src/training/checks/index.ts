/** Formula room of what must hold before a policy is trained. */
export type { CheckResult } from "./check.js";
export { referenceParity } from "./reference-parity.js";
export { type GoldAndEmpty, rewardOrder } from "./reward-order.js";
export { type LogprobPairs, samplerParity } from "./sampler-parity.js";
