/**
 * The reward must prefer the right answer to nothing: on every task looked at, gold scores above an empty answer.
 * A reward that does not is a bug in the grader, the data or the prompt, and no training mends it.
 */
import type { RewardOutcome } from "../../rewards/index.js";
import type { CheckResult } from "./check.js";

export interface GoldAndEmpty {
  readonly taskId: string;
  readonly gold: RewardOutcome;
  readonly empty: RewardOutcome;
}

export function rewardOrder(tasks: readonly GoldAndEmpty[]): CheckResult {
  const faults = tasks.flatMap(({ taskId, gold, empty }) => {
    const sentence = faultOf(gold, empty);
    return sentence === undefined ? [] : [`task "${taskId}": ${sentence}`];
  });
  const right = tasks.length - faults.length;
  const shown = faults.slice(0, 3).join("; ");
  return {
    name: "reward_order",
    passed: tasks.length > 0 && faults.length === 0,
    measured: tasks.length === 0 ? 0 : right / tasks.length,
    limit: 1,
    reason:
      faults.length === 0
        ? `gold answers score above empty ones on ${right} of ${tasks.length} tasks${tasks.length === 0 ? ", expected at least one task" : ""}`
        : `gold answers score above empty ones on ${right} of ${tasks.length} tasks, expected all (${shown}${faults.length > 3 ? `; and ${faults.length - 3} more` : ""})`,
  };
}

function faultOf(gold: RewardOutcome, empty: RewardOutcome): string | undefined {
  if (gold.kind === "invalid") return `the gold answer's reward is invalid (${gold.reason})`;
  // An environment may refuse to grade nothing; then nothing cannot beat gold.
  if (empty.kind === "invalid") return undefined;
  return gold.value > empty.value ? undefined : `gold scores ${gold.value}, an empty answer ${empty.value}`;
}
