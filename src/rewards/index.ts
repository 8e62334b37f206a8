/** Formula room: rewards as values with named components, or invalid with a reason. */
export { invalidReward, type RewardComponent, type RewardOutcome, rewardOf } from "./reward.js";
