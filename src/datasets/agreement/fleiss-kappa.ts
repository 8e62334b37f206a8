/**
 * Agreement of any number of annotators beyond chance; each item has the same number n of judgements, by whomever.
 *
 *     κ = (P̄ − P̄_e) / (1 − P̄_e)      P_i = Σ_c n_ic (n_ic − 1) / (n (n − 1)),   P̄ = mean of P_i
 *                                     P̄_e = Σ_c p_c²,  p_c: share of category c among all judgements
 *
 * n_ic: how many judged item i as category c.
 * Paper: Fleiss, Measuring nominal scale agreement among many raters, 1971.
 * κ is undefined where all judgements are of one category.
 */
import { mean } from "../../base/index.js";
import { beyondChance, type Category } from "./cohen-kappa.js";

export interface GroupAgreement {
  readonly items: number;
  readonly annotators: number;
  readonly observed: number;
  readonly expected: number;
  readonly kappa: number | undefined;
}

/** `judgements[i]` are the n judgements of item i. Throws for fewer than two of an item, or different numbers. */
export function fleissKappa(judgements: readonly (readonly Category[])[]): GroupAgreement {
  const annotators = judgements[0]?.length ?? 0;
  if (annotators < 2 || judgements.some(({ length }) => length !== annotators)) {
    throw new RangeError(
      `Cannot measure agreement: items have ${[...new Set(judgements.map(({ length }) => length))].join(", ") || "no"} judgements, expected the same number of at least 2 for each`,
    );
  }
  const categories = [...new Set(judgements.flat())];
  const counts = judgements.map((item) =>
    categories.map((category) => item.filter((one) => one === category).length),
  );
  const observed = mean(
    counts.map((item) => item.reduce((sum, n) => sum + n * (n - 1), 0) / (annotators * (annotators - 1))),
  );
  const expected = categories.reduce<number>((sum, _, c) => {
    const share = counts.reduce((total, item) => total + item[c]!, 0) / (judgements.length * annotators);
    return sum + share ** 2;
  }, 0);
  return {
    ...{ items: judgements.length, annotators, observed, expected },
    kappa: categories.length === 1 ? undefined : beyondChance(observed, expected),
  };
}
