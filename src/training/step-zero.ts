/**
 * The look before the first step that refuses to train: do sampler and trainer mean the same by a logprob, is the
 * reference what the policy starts from, does the reward prefer gold to nothing. Rolls out on its own and changes
 * nothing; the formulas are in `checks/`.
 */
import { UserError } from "../base/index.js";
import type { EnvSet, EnvTask } from "../envs/index.js";
import { invalidReward, type RewardOutcome, totalReward } from "../rewards/index.js";
import type { Trajectory } from "../rollouts/index.js";
import {
  type CheckResult,
  type GoldAndEmpty,
  referenceParity,
  rewardOrder,
  samplerParity,
} from "./checks/index.js";
import { sampledMask } from "./trajectory-logprobs.js";

export interface StepZeroOptions {
  /** Valid trajectories of the policy as it is. */
  readonly trajectories: readonly Trajectory[];
  readonly set: EnvSet;
  /** Tasks whose gold answers are scored. */
  readonly tasks: readonly EnvTask[];
  readonly seed: number;
  /** The trainer's logprobs of the trajectories, at the sampling temperature. */
  readonly trainingLogprobs: readonly (readonly number[])[];
  /** The sampler's own, comparable with them: of the distribution drawn from, or of the model where tokens were cut off. */
  readonly samplingLogprobs: readonly (readonly number[])[];
  /** Absent where no KL is asked for. */
  readonly referenceLogprobs?: readonly (readonly number[])[] | undefined;
  readonly isSamplerQuantised: boolean;
  readonly limits: {
    readonly logprobTolerance: number;
    readonly quantisedLogprobTolerance: number;
    readonly referenceTolerance: number;
  };
}

/** Every check, passed or not. */
export async function stepZeroChecks(options: StepZeroOptions): Promise<CheckResult[]> {
  const { trajectories, isSamplerQuantised, limits } = options;
  const sampled = (lists: readonly (readonly number[])[]): number[] =>
    trajectories.flatMap((trajectory, i) => {
      const mask_T = sampledMask(trajectory);
      return lists[i]!.filter((_, t) => mask_T[t] === 1);
    });
  const trainingLogprobs_T = sampled(options.trainingLogprobs);
  if (trainingLogprobs_T.length === 0) {
    throw new UserError(
      `Cannot check the sampler: none of ${trajectories.length} rollouts has a sampled token, expected at least one`,
    );
  }
  const checks = [
    samplerParity(
      { samplingLogprobs_T: sampled(options.samplingLogprobs), trainingLogprobs_T },
      isSamplerQuantised
        ? { tolerance: limits.quantisedLogprobTolerance, statistic: "mean" }
        : { tolerance: limits.logprobTolerance, statistic: "max" },
    ),
    rewardOrder(await goldAndEmpty(options)),
  ];
  if (options.referenceLogprobs !== undefined) {
    const referenceLogprobs_T = sampled(options.referenceLogprobs);
    checks.push(
      referenceParity({ trainingLogprobs_T, referenceLogprobs_T }, { tolerance: limits.referenceTolerance }),
    );
  }
  return checks;
}

/** @throws UserError with the reason of every check that failed */
export function refuseFailed(checks: readonly CheckResult[]): void {
  const failed = checks.filter(({ passed }) => !passed);
  if (failed.length === 0) return;
  throw new UserError(
    `Cannot begin training: ${failed.map(({ reason }) => reason).join("; ")}. Nothing was trained; checks.refuse: false trains all the same`,
  );
}

async function goldAndEmpty({ set, tasks, seed }: StepZeroOptions): Promise<GoldAndEmpty[]> {
  const found: GoldAndEmpty[] = [];
  for (const task of tasks) {
    found.push({
      taskId: task.id,
      gold: await rewardOfActions(set, task, seed, set.goldActions(task)),
      empty: await rewardOfActions(set, task, seed, [""]),
    });
  }
  return found;
}

/** The return of an episode in which these texts are said, one per turn; what is left of it is not played. */
async function rewardOfActions(
  set: EnvSet,
  task: EnvTask,
  seed: number,
  texts: readonly string[],
): Promise<RewardOutcome> {
  const env = await set.create(task, seed);
  try {
    await env.initialObservation();
    const rewards: RewardOutcome[] = [];
    for (const text of texts) {
      const step = await env.step({ text, stopReason: "stop", tokenCount: text.length });
      rewards.push(step.reward);
      if (step.observation === null) break;
    }
    return rewards.length === 0 ? invalidReward("there is no gold answer") : totalReward(rewards);
  } finally {
    await env.close?.();
  }
}
