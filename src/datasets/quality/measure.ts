/** Everything that is measured of a data set, in one record: what `hone data stats` shows and the checks judge. */
import { promptKey, type RecordSet } from "../records/read-records.js";
import type { DataRecord, RecordKind } from "../records/record.js";
import { type Consistency, measureConsistency } from "./consistency.js";
import { type CategoryShare, type CoverageTargets, categoryCoverage } from "./coverage.js";
import { type Decontamination, type EvaluationText, findContamination } from "./decontamination.js";
import { type DegenerateAnswer, findDegenerate } from "./degenerate.js";
import { type Duplicates, findDuplicates } from "./duplicates.js";
import { type Lengths, measureLengths, type TextMeasure } from "./lengths.js";
import { type PreferenceGap, preferenceGap } from "./preference-gap.js";

export interface MeasureOptions {
  readonly targets?: CoverageTargets;
  /** What the rows must not hold; without it nothing is said about contamination. */
  readonly evaluation?: readonly EvaluationText[];
  readonly countTokens?: TextMeasure;
  /** Jaccard similarity from which on rows are near duplicates. @default 0.8 */
  readonly nearThreshold?: number;
}

/** Values of a column that says where rows came from. */
export interface Origin {
  readonly column: string;
  readonly values: readonly { readonly value: string; readonly rows: number }[];
}

export interface DataMeasures {
  readonly path: string;
  readonly kind: RecordKind;
  readonly rows: number;
  readonly prompts: number;
  readonly fileHash: string;
  readonly contentHash: string;
  readonly duplicates: Duplicates;
  readonly degenerate: readonly DegenerateAnswer[];
  readonly consistency: Consistency;
  readonly lengths: Lengths;
  readonly categories: readonly CategoryShare[];
  /** The model, temperature and the like that the rows name. */
  readonly origins: readonly Origin[];
  readonly gap?: PreferenceGap;
  readonly decontamination?: Decontamination;
}

export function measureRecords(set: RecordSet, options: MeasureOptions = {}): DataMeasures {
  const { path, kind, records, fileHash, contentHash } = set;
  const { targets, evaluation, countTokens, nearThreshold } = options;
  const gap = preferenceGap(records);
  return {
    ...{ path, kind, rows: records.length, fileHash, contentHash },
    prompts: new Set(records.map(promptKey)).size,
    duplicates: findDuplicates(records, nearThreshold === undefined ? {} : { threshold: nearThreshold }),
    degenerate: findDegenerate(records),
    consistency: measureConsistency(records),
    lengths: measureLengths(records, countTokens),
    categories: categoryCoverage(records, targets),
    origins: originsOf(records),
    ...(gap === undefined ? {} : { gap }),
    ...(evaluation === undefined ? {} : { decontamination: findContamination(records, evaluation) }),
  };
}

/** Columns that say how a row was made, as samplers, annotation tools and we ourselves write them. */
const ORIGIN_COLUMNS = [
  ...["model", "adapter", "checkpoint", "temperature", "seed", "reward", "judge", "annotator", "source"],
  ...["run", "step", "finish_reason", "stopReason"],
];
const SHOWN_VALUES = 12;

function originsOf(records: readonly DataRecord[]): Origin[] {
  return ORIGIN_COLUMNS.flatMap((column): Origin[] => {
    const counts = new Map<string, number>();
    for (const { row } of records) {
      const value = row[column];
      if (typeof value !== "string" && typeof value !== "number") continue;
      counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
    }
    if (counts.size === 0) return [];
    const values = [...counts]
      .map(([value, rows]) => ({ value, rows }))
      .sort((a, b) => b.rows - a.rows || (a.value < b.value ? -1 : 1));
    return [{ column, values: values.slice(0, SHOWN_VALUES) }];
  });
}
