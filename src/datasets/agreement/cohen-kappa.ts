/**
 * Agreement of two annotators beyond chance.
 *
 *     κ = (p_o − p_e) / (1 − p_e)      p_o = share of items that both judge alike
 *                                      p_e = Σ_c a_c · b_c,  a_c, b_c: share of category c in each one's judgements
 *
 * Paper: Cohen, A coefficient of agreement for nominal scales, 1960.
 * κ is undefined where p_e = 1: both have used one category only, and nothing tells agreement from habit.
 */
import { zip } from "../../base/index.js";

export type Category = string | number;

export interface PairAgreement {
  readonly items: number;
  readonly observed: number;
  readonly expected: number;
  /** In −1 … 1; undefined where agreement by chance is certain. */
  readonly kappa: number | undefined;
}

/** Judgements of the same items in the same order. Throws where there are none, or the lengths differ. */
export function cohenKappa(first: readonly Category[], second: readonly Category[]): PairAgreement {
  const judged = zip(first, second, "judgements");
  if (judged.length === 0) throw new RangeError("Cannot measure agreement: 0 items, expected at least 1");
  const items = judged.length;
  const agreed = judged.filter(([a, b]) => a === b).length;
  const share = (judgements: readonly Category[], category: Category): number =>
    judgements.filter((one) => one === category).length / items;
  const categories = [...new Set([...first, ...second])];
  const expected = categories.reduce<number>(
    (sum, category) => sum + share(first, category) * share(second, category),
    0,
  );
  const observed = agreed / items;
  return {
    items,
    observed,
    expected,
    kappa: categories.length === 1 ? undefined : beyondChance(observed, expected),
  };
}

/** (observed − expected) / (1 − expected). */
export const beyondChance = (observed: number, expected: number): number =>
  (observed - expected) / (1 - expected);
