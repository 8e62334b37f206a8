/** One rollout as the store keeps it: who wrote which tokens, and what they earned. */

/** Tokens `start` up to `end` of a rollout with their text. The spans cover all tokens, in order. */
export interface RolloutSpan {
  readonly source: "prompt" | "sampled" | "tool" | "forced";
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

export interface RolloutRecord {
  /** The step that learned from it, or would have. */
  readonly step: number;
  readonly taskId: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Index within the task's group. */
  readonly sample: number;
  /** Begins the episode again. */
  readonly seed: number;
  /** null when it could not be graded; `invalid` says where and why. */
  readonly reward: number | null;
  readonly invalid: { readonly boundary: string; readonly reason: string } | null;
  readonly components: readonly {
    readonly name: string;
    readonly score: number;
    readonly weight: number;
    readonly evidence?: string;
  }[];
  /** One per completion. */
  readonly turns: readonly {
    readonly stopReason: string;
    readonly reward: number | null;
    readonly metrics: Readonly<Record<string, number>>;
  }[];
  readonly isTruncated: boolean;
  readonly tokens_T: readonly number[];
  readonly spans: readonly RolloutSpan[];
  /** Under the distribution drawn from and under the model, in nats, as float32; 0 where not sampled. */
  readonly logprobs_T: readonly number[];
  readonly rawLogprobs_T: readonly number[];
}

/** Which rollouts of a run; everything given must hold. */
export interface RolloutFilter {
  readonly step?: number;
  readonly taskId?: string;
  /** Bounds of the reward, both included; invalid rollouts have none. */
  readonly minReward?: number;
  readonly maxReward?: number;
  readonly isInvalid?: boolean;
}
