/** The reward contract. A failed grader is `invalid`, never a low score: groups are normalised over valid ones only. */
import { type RolloutBoundary, UserError } from "../base/index.js";

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

export interface ValidReward {
  readonly kind: "value";
  readonly value: number;
  readonly components: readonly RewardComponent[];
}

/** Nobody knows what the episode deserved. */
export interface InvalidReward {
  readonly kind: "invalid";
  readonly reason: string;
  /** Where it failed; "reward" when left out. */
  readonly boundary?: RolloutBoundary;
}

export type RewardOutcome = ValidReward | InvalidReward;

/** What the grader of one component says: a score in 0–1, or that it could not grade. */
export type Grade = { readonly score: number; readonly evidence?: string } | InvalidReward;

/** Σ score · weight over the components. */
export function rewardOf(components: readonly RewardComponent[]): RewardOutcome {
  const broken = components.find(({ score, weight }) => !Number.isFinite(score * weight));
  if (broken !== undefined)
    return invalidReward(
      `component "${broken.name}" is ${broken.score} of weight ${broken.weight}, expected finite numbers`,
    );
  return {
    kind: "value",
    value: components.reduce((total, { score, weight }) => total + score * weight, 0),
    components,
  };
}

export function invalidReward(reason: string, boundary?: RolloutBoundary): InvalidReward {
  return boundary === undefined ? { kind: "invalid", reason } : { kind: "invalid", reason, boundary };
}

/**
 * Σ score · weight / Σ weight: an answer that scores 1 everywhere earns exactly 1, whatever the weights. Components of
 * weight 0 are measured and recorded, and count nothing; but a grader that fails makes the whole invalid, whatever it
 * weighs, because a broken grader is to be mended.
 *
 * @throws UserError when the weights cannot be shared out.
 */
export function weightedReward(
  parts: readonly { readonly name: string; readonly weight: number; readonly grade: Grade }[],
): RewardOutcome {
  const total = totalWeight(Object.fromEntries(parts.map(({ name, weight }) => [name, weight])));
  const components: RewardComponent[] = [];
  let sum = 0;
  for (const { name, weight, grade } of parts) {
    if ("kind" in grade) return { ...grade, reason: `${name}: ${grade.reason}` };
    if (!(grade.score >= 0 && grade.score <= 1)) {
      return invalidReward(`component "${name}" is ${grade.score}, expected a number in 0–1`);
    }
    sum += grade.score * weight;
    components.push({ name, ...grade, weight: weight / total });
  }
  return { kind: "value", value: sum / total, components };
}

/** The sum of weights by name. @throws UserError naming one that is no weight, or when nothing has any */
export function totalWeight(weights: Readonly<Record<string, number>>): number {
  let total = 0;
  for (const [name, weight] of Object.entries(weights)) {
    if (!(Number.isFinite(weight) && weight >= 0)) {
      throw new UserError(
        `Cannot weigh reward component "${name}": its weight is ${weight}, expected a finite number of 0 or more`,
      );
    }
    total += weight;
  }
  if (total > 0) return total;
  throw new UserError(
    `Cannot weigh reward: every weight is 0 (${Object.keys(weights).join(", ") || "there are no components"}), expected at least one above 0`,
  );
}

/** An episode's return: the sum over its turns, invalid with the first invalid one. */
export function totalReward(outcomes: readonly RewardOutcome[]): RewardOutcome {
  const invalid = outcomes.find(({ kind }) => kind === "invalid");
  if (invalid !== undefined) return invalid;
  const valid = outcomes.filter((outcome) => outcome.kind === "value");
  return {
    kind: "value",
    value: valid.reduce((total, { value }) => total + value, 0),
    components: valid.flatMap(({ components }) => components),
  };
}
