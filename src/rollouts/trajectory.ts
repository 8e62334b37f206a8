/** One episode as tokens, with who wrote which. Token ids are kept as sampled; text is a view of them. */
import type { RolloutBoundary } from "../base/index.js";
import type { StopReason } from "../protocol/index.js";
import type { RewardOutcome } from "../rewards/index.js";
import type { Span } from "../text/index.js";

export interface Turn {
  /** What the policy said, without the token that ended it. */
  readonly text: string;
  readonly stopReason: StopReason;
  readonly reward: RewardOutcome;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Trajectory {
  readonly taskId: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Sample index within the group of the task. */
  readonly sample: number;
  /** The episode's: `EnvSet.create(task, seed)` begins it again. The same for all samples of a group. */
  readonly seed: number;
  readonly tokens_T: readonly number[];
  /** Consecutive runs of tokens by source (prompt, sampled, tool, forced), covering all of `tokens_T`. */
  readonly spans: readonly Span[];
  /** Under the distribution drawn from; 0 where not sampled. */
  readonly logprobs_T: readonly number[];
  /** Under the model at temperature 1; 0 where not sampled. */
  readonly rawLogprobs_T: readonly number[];
  readonly turns: readonly Turn[];
  /** The last turn ran into a limit: of tokens, or of turns. */
  readonly isTruncated: boolean;
  /** The episode's return; invalid when anything of it failed. */
  readonly reward: RewardOutcome;
  /** Where and why the episode broke off; its tokens are those sampled until then. */
  readonly failure?: { readonly boundary: RolloutBoundary; readonly message: string };
}

/** The K trajectories of one task. */
export interface TrajectoryGroup {
  readonly taskId: string;
  readonly trajectories: readonly Trajectory[];
}
