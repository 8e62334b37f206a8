/** What an algorithm is: a formula from rewards to advantages, a loss, and the settings it was published with. */
import type { LossFnName } from "../protocol/index.js";
import type { PolicySettings } from "./settings.js";

/** What an algorithm remembers from batch to batch, such as a running baseline; it is saved with the run. */
export type AlgorithmState = Readonly<Record<string, number>>;

/** One list of advantages for each list of rewards, in the same order. Unitless. */
export interface Advantages {
  readonly advantages_P_G: readonly (readonly number[])[];
  readonly state: AlgorithmState;
}

export interface Algorithm {
  readonly name: string;
  readonly lossFn: LossFnName;
  /** What differs from `DEFAULT_SETTINGS`. */
  readonly defaults: Partial<PolicySettings>;
  /** Groups may have different sizes: completions whose reward is invalid are not among them. `state` begins as {}. */
  readonly advantages: (
    rewards_P_G: readonly (readonly number[])[],
    settings: PolicySettings,
    state: AlgorithmState,
  ) => Advantages;
  /** Bounds of the ratio as the loss wants them. @default 1 − epsilon and 1 + epsilonHigh */
  readonly clipBounds?: (settings: PolicySettings) => readonly [low: number, high: number];
}

/** Larger than any ratio, and a float32: no bound. */
export const UNBOUNDED = 1e30;
