/** What changed from one data set to another: rows by what they say, prompts, categories, lengths. */
import { type CategoryShare, categoryCoverage } from "./quality/coverage.js";
import { type LengthSummary, measureLengths, type Part } from "./quality/lengths.js";
import { promptKey, type RecordSet, recordKey } from "./records/read-records.js";
import type { DataRecord } from "./records/record.js";

/** What both have, and what one of them has alone. Repetitions count: 2 and 3 copies share 2. */
export interface Difference {
  readonly shared: number;
  readonly removed: number;
  readonly added: number;
}

export interface DataDiff {
  readonly isSame: boolean;
  readonly rows: Difference & {
    /** Lines in the first file, and in the second, that the other lacks. */
    readonly removedLines: readonly number[];
    readonly addedLines: readonly number[];
  };
  /** Different prompts, but for case and white space. */
  readonly prompts: Difference;
  /** Prompts that both have with other rows. */
  readonly changedPrompts: number;
  readonly categories: readonly {
    readonly category: string;
    readonly before: number;
    readonly after: number;
  }[];
  readonly lengths: readonly {
    readonly part: Part;
    readonly before?: LengthSummary;
    readonly after?: LengthSummary;
  }[];
}

export function diffRecords(before: RecordSet, after: RecordSet): DataDiff {
  const [removedLines, shared] = without(before.records, after.records);
  const [addedLines] = without(after.records, before.records);
  const oldPrompts = rowsByPrompt(before.records);
  const newPrompts = rowsByPrompt(after.records);
  const sharedPrompts = [...oldPrompts.keys()].filter((key) => newPrompts.has(key));
  return {
    isSame: before.contentHash === after.contentHash,
    rows: { shared, removed: removedLines.length, added: addedLines.length, removedLines, addedLines },
    prompts: {
      shared: sharedPrompts.length,
      removed: oldPrompts.size - sharedPrompts.length,
      added: newPrompts.size - sharedPrompts.length,
    },
    changedPrompts: sharedPrompts.filter((key) => oldPrompts.get(key) !== newPrompts.get(key)).length,
    categories: categoryChanges(categoryCoverage(before.records), categoryCoverage(after.records)),
    lengths: lengthChanges(before.records, after.records),
  };
}

/** Lines of `records` that `others` lack, and how many they share, each of `others` matched once. */
function without(records: readonly DataRecord[], others: readonly DataRecord[]): [number[], number] {
  const left = new Map<string, number>();
  for (const other of others) {
    const key = recordKey(other);
    left.set(key, (left.get(key) ?? 0) + 1);
  }
  const lines: number[] = [];
  for (const record of records) {
    const key = recordKey(record);
    const count = left.get(key) ?? 0;
    if (count === 0) lines.push(record.line);
    else left.set(key, count - 1);
  }
  return [lines, records.length - lines.length];
}

/** Prompt → its rows' keys, sorted, as one text. */
function rowsByPrompt(records: readonly DataRecord[]): Map<string, string> {
  const keys = new Map<string, string[]>();
  for (const record of records) {
    const key = promptKey(record);
    const list = keys.get(key) ?? [];
    keys.set(key, list);
    list.push(recordKey(record));
  }
  return new Map([...keys].map(([key, list]) => [key, list.sort().join()]));
}

function categoryChanges(
  before: readonly CategoryShare[],
  after: readonly CategoryShare[],
): { category: string; before: number; after: number }[] {
  const share = (shares: readonly CategoryShare[], category: string): number =>
    shares.find((one) => one.category === category)?.share ?? 0;
  const names = [...new Set([...before, ...after].map(({ category }) => category))];
  return names.map((category) => ({
    category,
    before: share(before, category),
    after: share(after, category),
  }));
}

function lengthChanges(before: readonly DataRecord[], after: readonly DataRecord[]): DataDiff["lengths"] {
  const old = measureLengths(before).parts;
  const now = measureLengths(after).parts;
  return (["prompt", "chosen", "rejected", "completion"] as const).flatMap((part) => {
    const [first, second] = [old[part], now[part]];
    if (first === undefined && second === undefined) return [];
    return [{ part, ...(first ? { before: first } : {}), ...(second ? { after: second } : {}) }];
  });
}
