/** What a guard is: a healthy range of one measurement, and a sentence when it is left. Pure; acting on it is the loop's. */

/** What a loop does when a guard's limit is passed. */
export const GUARD_ACTIONS = ["warn", "lower_lr", "roll_back", "stop"] as const;
export type GuardAction = (typeof GUARD_ACTIONS)[number];

/** Numbers of one step; absent where the step has none. */
export interface Measurements {
  /** Nats per token, sampled policy against the reference. */
  readonly kl?: number | undefined;
  /** Nats per token. */
  readonly entropy?: number | undefined;
  readonly gradNorm?: number | undefined;
  /** Share of groups whose rewards are all equal. */
  readonly zeroVarianceFraction?: number | undefined;
  /** Mean tokens of a completion. */
  readonly meanLength?: number | undefined;
  /** Share of completions cut off by the token limit. */
  readonly truncatedFraction?: number | undefined;
  /** Share of rollouts without a valid reward. */
  readonly invalidFraction?: number | undefined;
}

/** What the run looked like at its beginning: what drift is measured from. */
export interface Baseline {
  readonly entropy: number;
  readonly meanLength: number;
}

export interface GuardLimits {
  /** From here on the user is told. */
  readonly warn: number;
  /** From here on `action` is taken. */
  readonly limit: number;
  readonly action: GuardAction;
  /** Steps in a row beyond a bound before it counts: one odd batch is no trend. */
  readonly patience: number;
}

export interface Guard {
  readonly name: string;
  readonly defaults: GuardLimits;
  /** "above": larger is worse. */
  readonly side: "above" | "below";
  /** The number to hold against the limits; undefined where it was not measured. */
  measure(measurements: Measurements, baseline: Baseline): number | undefined;
  /** Says what the number means, for the reason sentence: `KL to the reference is 0.31 nats per token`. */
  describe(value: number): string;
  /** What the user can do about it. */
  readonly remedy: string;
}
