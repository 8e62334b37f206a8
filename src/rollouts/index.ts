/** Runs policies in environments and keeps what happened as tokens. */
export { type ChatFormatOptions, createChatFormat } from "./chat-format.js";
export { type CollectOptions, collectGroups } from "./collect.js";
export { createPlainFormat, type PlainFormatOptions } from "./plain-format.js";
export type { PolicyOptions } from "./policy.js";
export type { FollowedTurn, PromptFormat } from "./prompt-format.js";
export { type RolloutRecordOptions, rolloutRecord } from "./record.js";
export {
  hasZeroVariance,
  rewardValue,
  sampledTokenCount,
} from "./statistics.js";
export type { Trajectory, TrajectoryGroup, Turn } from "./trajectory.js";
