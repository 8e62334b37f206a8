/**
 * Splits of a data set by prompt: no prompt is in two of them, so that what is measured on one was not trained on.
 * Knows records and shares; writes nothing.
 */
import { Random, UserError } from "../base/index.js";
import { NO_CATEGORY } from "./quality/coverage.js";
import { promptKey } from "./records/read-records.js";
import type { DataRecord } from "./records/record.js";

/** Name → share of the rows, in 0–1; together 1. In the order in which they are written. */
export type SplitShares = Readonly<Record<string, number>>;

/**
 * The records of every split, each in the file's order.
 *
 * Prompts are shuffled by `seed`, those of one category together, and dealt to the split that is furthest behind its
 * share: so every category is spread over the splits as the whole is, as far as whole prompts allow.
 *
 * @throws UserError when the shares are none, or there are fewer prompts than splits
 */
export function splitRecords(
  records: readonly DataRecord[],
  shares: SplitShares,
  seed: number,
): Record<string, DataRecord[]> {
  const names = Object.keys(shares);
  requireShares(shares);
  const groups = groupByPrompt(records);
  if (groups.length < names.length) {
    throw new UserError(
      `Cannot split ${records.length} rows into ${names.join(", ")}: they have ${groups.length} different prompts, expected at least ${names.length}, for no prompt may be in two splits`,
    );
  }
  const dealt = new Map<string, DataRecord[][]>(names.map((name) => [name, []]));
  const counts = new Map<string, number>(names.map((name) => [name, 0]));
  let total = 0;
  for (const group of inDealingOrder(groups, seed)) {
    total += group.length;
    const behind = (name: string): number => shares[name]! * total - counts.get(name)!;
    const name = names.reduce((a, b) => (behind(b) > behind(a) + 1e-9 ? b : a));
    dealt.get(name)!.push(group);
    counts.set(name, counts.get(name)! + group.length);
  }
  fillEmpty(dealt);
  return Object.fromEntries(
    names.map((name) => {
      const chosen = new Set(dealt.get(name)!.flat());
      return [name, records.filter((record) => chosen.has(record))];
    }),
  );
}

function requireShares(shares: SplitShares): void {
  const entries = Object.entries(shares);
  const shown = entries.map(([name, share]) => `${name}=${share}`).join(", ");
  const sum = entries.reduce((total, [, share]) => total + share, 0);
  if (entries.length < 2 || entries.some(([, share]) => !(share > 0)) || Math.abs(sum - 1) > 1e-6) {
    throw new UserError(
      `Cannot split into ${shown === "" ? "nothing" : shown}: the shares add up to ${Number(sum.toFixed(6))}, expected two or more above 0 that add up to 1, such as train=0.8,validation=0.1,test=0.1`,
    );
  }
}

function groupByPrompt(records: readonly DataRecord[]): DataRecord[][] {
  const groups = new Map<string, DataRecord[]>();
  for (const record of records) {
    const key = promptKey(record);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [record]);
    else group.push(record);
  }
  return [...groups.values()];
}

/** Categories by name, and within each the prompts as the seed shuffles them. A prompt has its first row's category. */
function inDealingOrder(groups: readonly DataRecord[][], seed: number): DataRecord[][] {
  const categoryOf = (group: readonly DataRecord[]): string => group[0]!.category ?? NO_CATEGORY;
  const categories = [...new Set(groups.map(categoryOf))].sort();
  const shuffled = new Random(seed).fork("data split").shuffled(groups);
  return categories.flatMap((category) => shuffled.filter((group) => categoryOf(group) === category));
}

/** A split whose share is less than a prompt gets the smallest prompt of the split that has most. */
function fillEmpty(dealt: Map<string, DataRecord[][]>): void {
  for (const groups of dealt.values()) {
    if (groups.length > 0) continue;
    const richest = [...dealt.values()].reduce((a, b) => (b.length > a.length ? b : a));
    const smallest = richest.reduce((a, b) => (b.length < a.length ? b : a));
    richest.splice(richest.indexOf(smallest), 1);
    groups.push(smallest);
  }
}
