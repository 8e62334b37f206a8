/** The rollouts of a step: which tasks, their groups, and further prompts in place of groups that teach nothing. */
import { dynamicSampling, overlongPenalty } from "../algorithms/index.js";
import { Random } from "../base/index.js";
import type { EnvSet, EnvTask } from "../envs/index.js";
import type { SamplingClient } from "../protocol/index.js";
import {
  collectGroups,
  type PromptFormat,
  rewardValue,
  type Trajectory,
  type TrajectoryGroup,
} from "../rollouts/index.js";
import { validGroups } from "./batch-statistics.js";
import type { RlConfig } from "./rl-config.js";
import type { TaskCursor, TaskPlan } from "./task-plan.js";

/** Whoever answers, and where. */
export interface RolloutSource {
  readonly sampler: SamplingClient;
  readonly set: EnvSet;
  readonly format: PromptFormat;
}

export type RolloutConfig = Pick<
  RlConfig,
  | "promptsPerStep"
  | "groupSize"
  | "sampling"
  | "maxTokens"
  | "maxTurns"
  | "seed"
  | "dynamicSampling"
  | "overlongPenalty"
  | "maxInvalidShare"
  | "rolloutTimeoutSeconds"
>;

export interface StepRollouts {
  /** Everything that was drawn, failures too. */
  readonly all: readonly TrajectoryGroup[];
  /** Valid trajectories that are learned from. */
  readonly groups: readonly TrajectoryGroup[];
  readonly cursor: TaskCursor;
  /** Times that prompts were drawn. */
  readonly rounds: number;
}

/** Groups for step `step` (from 1), from `cursor` on. */
export async function rollOutStep(
  source: RolloutSource,
  config: RolloutConfig,
  {
    plan,
    cursor,
    step,
    progress,
    signal,
  }: {
    readonly plan: TaskPlan;
    readonly cursor: TaskCursor;
    readonly step: number;
    /** Share of the run that is done, for the curriculum. */
    readonly progress: number;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<StepRollouts> {
  const { promptsPerStep } = config;
  const all: TrajectoryGroup[] = [];
  let next = cursor;
  let rounds = 0;
  const drawMore = async (count: number): Promise<void> => {
    const drawn = plan.draw(next, count, progress);
    next = drawn.next;
    const groups = await rollOut(source, config, { tasks: drawn.tasks, step, round: rounds, signal });
    all.push(...groups.map((group) => withOverlongPenalty(group, config)));
    rounds++;
  };
  await drawMore(promptsPerStep);
  let groups = validGroups(all);
  if (config.dynamicSampling !== undefined) {
    const budget = Math.round(config.dynamicSampling.budget * promptsPerStep);
    for (;;) {
      const rewards_P_G = groups.map(({ trajectories }) => trajectories.map(rewardValue));
      // Groups without any valid reward were paid for as well.
      const paid = Array.from({ length: all.length - groups.length }, () => []);
      const ledger = { rewards_P_G: [...rewards_P_G, ...paid], wanted: promptsPerStep, budget };
      const { kept, sampleMore } = dynamicSampling(ledger);
      if (sampleMore === 0) {
        groups = kept.map((p) => groups[p]!);
        break;
      }
      await drawMore(sampleMore);
      groups = validGroups(all);
    }
  }
  return { all, groups, cursor: next, rounds };
}

/** One group per task. `isGreedy` takes the likeliest token, in groups of one. */
export async function rollOut(
  { sampler, set, format }: RolloutSource,
  config: Omit<RolloutConfig, "promptsPerStep" | "dynamicSampling" | "overlongPenalty">,
  {
    tasks,
    purpose,
    step,
    round = 0,
    isGreedy = false,
    signal,
  }: {
    readonly tasks: readonly EnvTask[];
    /** What else than training they are for: other purposes draw other numbers. */
    readonly purpose?: string;
    readonly step: number;
    readonly round?: number;
    readonly isGreedy?: boolean;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<TrajectoryGroup[]> {
  const { sampling, maxTokens, maxTurns, groupSize, maxInvalidShare, rolloutTimeoutSeconds } = config;
  return collectGroups({
    client: sampler,
    set,
    format,
    tasks,
    step,
    round,
    maxTurns,
    maxInvalidShare,
    groupSize: isGreedy ? 1 : groupSize,
    params: isGreedy ? { temperature: 0, maxTokens } : { ...sampling, maxTokens },
    seed: purpose === undefined ? config.seed : new Random(config.seed).fork(purpose).uint32(),
    deadlineMs: 1000 * rolloutTimeoutSeconds,
    ...(signal === undefined ? {} : { signal }),
  });
}

/** The penalty is a component of the reward like any other; validation, which rolls out by itself, has none. */
function withOverlongPenalty(
  group: TrajectoryGroup,
  { overlongPenalty: given, maxTokens }: Pick<RolloutConfig, "overlongPenalty" | "maxTokens">,
): TrajectoryGroup {
  if (given === undefined) return group;
  const limits = { maxLength: maxTokens, cacheLength: given.cacheLength };
  const penalised = (trajectory: Trajectory): Trajectory => {
    const { reward, spans } = trajectory;
    if (reward.kind === "invalid") return trajectory;
    const score = spans
      .filter(({ source }) => source === "sampled")
      .reduce((total, { start, end }) => total + overlongPenalty(end - start, limits), 0);
    const components = [...reward.components, { name: "overlong", score, weight: 1 }];
    return { ...trajectory, reward: { ...reward, value: reward.value + score, components } };
  };
  return { ...group, trajectories: group.trajectories.map(penalised) };
}
