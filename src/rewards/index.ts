/** Formula room: rewards as values with named components, or invalid with a reason. */
export { type AnswerForm, formatGrade, type ReadAnswer, readAnswer } from "./format.js";
export { type LengthBand, lengthGrade } from "./length.js";
export {
  type Grade,
  type InvalidReward,
  invalidReward,
  type RewardComponent,
  type RewardOutcome,
  rewardOf,
  totalReward,
  totalWeight,
  type ValidReward,
  weightedReward,
} from "./reward.js";
