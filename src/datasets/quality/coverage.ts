/** How rows are spread over categories, and how far that is from what was wanted. */
import { UserError } from "../../base/index.js";
import type { DataRecord } from "../records/record.js";

/** Category → wanted share of the rows, in 0–1; together 1. */
export type CoverageTargets = Readonly<Record<string, number>>;

export interface CategoryShare {
  readonly category: string;
  readonly rows: number;
  readonly share: number;
  /** Absent where no targets were given; 0 for a category they do not name. */
  readonly target?: number;
}

/** What rows without a category count as. */
export const NO_CATEGORY = "(none)";

/**
 * Every category of the rows and of the targets, the largest first.
 *
 * @throws UserError when the targets are no shares that add up to 1
 */
export function categoryCoverage(records: readonly DataRecord[], targets?: CoverageTargets): CategoryShare[] {
  if (targets !== undefined) requireShares(targets);
  const counts = new Map<string, number>(Object.keys(targets ?? {}).map((category) => [category, 0]));
  for (const { category = NO_CATEGORY } of records) counts.set(category, (counts.get(category) ?? 0) + 1);
  return [...counts]
    .map(([category, rows]) => ({
      category,
      rows,
      share: records.length === 0 ? 0 : rows / records.length,
      ...(targets === undefined ? {} : { target: targets[category] ?? 0 }),
    }))
    .sort((a, b) => b.rows - a.rows || (a.category < b.category ? -1 : 1));
}

/** The largest distance of a category's share from its target; undefined without targets. */
export function coverageError(
  shares: readonly CategoryShare[],
): { category: string; distance: number } | undefined {
  let worst: { category: string; distance: number } | undefined;
  for (const { category, share, target } of shares) {
    if (target === undefined) continue;
    const distance = Math.abs(share - target);
    if (worst === undefined || distance > worst.distance) worst = { category, distance };
  }
  return worst;
}

function requireShares(targets: CoverageTargets): void {
  const shares = Object.entries(targets);
  for (const [category, share] of shares) {
    if (share >= 0 && share <= 1) continue;
    throw new UserError(
      `Cannot measure coverage: the target of "${category}" is ${share}, expected a share from 0 to 1`,
    );
  }
  const sum = shares.reduce((total, [, share]) => total + share, 0);
  if (Math.abs(sum - 1) > 1e-6) {
    throw new UserError(
      `Cannot measure coverage: the targets add up to ${Number(sum.toFixed(6))}, expected 1 (${shares.map(([category, share]) => `${category}=${share}`).join(", ")})`,
    );
  }
}
