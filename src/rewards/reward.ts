/** The reward contract. A failed grader is `invalid`, never a low score: groups are normalised over valid ones only. */

/** One named part of a reward. */
export interface RewardComponent {
  readonly name: string;
  /** Usually in 0–1. */
  readonly score: number;
  /** The component's share of the reward is score · weight. */
  readonly weight: number;
  /** What a person needs to believe the score: an error message, the rows that differ. */
  readonly evidence?: string;
}

export type RewardOutcome =
  | { readonly kind: "value"; readonly value: number; readonly components: readonly RewardComponent[] }
  | { readonly kind: "invalid"; readonly reason: string };

/** Σ score · weight over the components. */
export function rewardOf(components: readonly RewardComponent[]): RewardOutcome {
  const broken = components.find(({ score }) => !Number.isFinite(score));
  if (broken !== undefined)
    return {
      kind: "invalid",
      reason: `component "${broken.name}" is ${broken.score}, expected a finite number`,
    };
  return {
    kind: "value",
    value: components.reduce((total, { score, weight }) => total + score * weight, 0),
    components,
  };
}

export function invalidReward(reason: string): RewardOutcome {
  return { kind: "invalid", reason };
}
