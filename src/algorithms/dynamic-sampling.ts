/**
 * Dynamic sampling (DAPO, arXiv:2503.14476, equation 11): groups in which all rewards are equal teach nothing, so they
 * are dropped and others sampled in their place, within a budget. Decides; samples nothing itself.
 */
import { UserError } from "../base/index.js";
import { hasSpread } from "./group-advantages.js";

export interface SamplingLedger {
  /** Rewards of every group sampled for this step so far, in order; invalid ones left out. */
  readonly rewards_P_G: readonly (readonly number[])[];
  /** Groups that a step wants. */
  readonly wanted: number;
  /** Most groups that may be sampled for one step, those dropped included. */
  readonly budget: number;
}

export interface SamplingDecision {
  /** Indices of the groups to train on, at most `wanted`, in order. */
  readonly kept: readonly number[];
  /** How many groups to sample now; 0 when the step may begin, with fewer than wanted where the budget is spent. */
  readonly sampleMore: number;
  readonly isBudgetSpent: boolean;
}

/** Asks for as many groups as the share kept so far makes necessary, and for one at least. */
export function dynamicSampling({ rewards_P_G, wanted, budget }: SamplingLedger): SamplingDecision {
  if (!(Number.isInteger(wanted) && wanted >= 1 && budget >= wanted)) {
    throw new UserError(
      `Cannot sample dynamically: ${wanted} groups wanted with a budget of ${budget}, expected at least 1 and a budget no smaller`,
    );
  }
  const kept = rewards_P_G.flatMap((rewards_G, p) => (hasSpread(rewards_G) ? [p] : [])).slice(0, wanted);
  const missing = wanted - kept.length;
  const left = Math.max(0, budget - rewards_P_G.length);
  const keptShare = Math.max(kept.length, 1) / Math.max(rewards_P_G.length, 1);
  const sampleMore = missing === 0 ? 0 : Math.min(left, Math.ceil(missing / Math.min(1, keptShare)));
  return { kept, sampleMore, isBudgetSpent: missing > 0 && left === 0 };
}
