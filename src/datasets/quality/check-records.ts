/** Limits on what was measured: each a gate with the number, the limit and a sentence. Measures nothing itself. */
import type { RecordKind } from "../records/record.js";
import { coverageError } from "./coverage.js";
import type { Degeneracy } from "./degenerate.js";
import { type LineLength, PARTS, type Part } from "./lengths.js";
import type { DataMeasures } from "./measure.js";

export interface DataLimits {
  /** @default 1000 for preference pairs, 1 for other rows */
  readonly minRows?: number;
  /** Normalised mean of score(chosen) − score(rejected). @default 0.15, where pairs have scores or a margin */
  readonly minGap?: number;
  /** Share of rows without 13 words of an evaluation set. @default 0.9, where one is given */
  readonly minDecontamination?: number;
  /** Share of rows that repeat another. @default 0.01 */
  readonly maxDuplicates?: number;
  /** Share of rows that nearly repeat another. @default 0.05 */
  readonly maxNearDuplicates?: number;
  /** Share of answers that are empty, looping, cut or an echo; rejected ones do not count. @default 0.01 */
  readonly maxDegenerate?: number;
  /** Distance of a category's share from its target. @default 0.05, where targets are given */
  readonly maxCoverageError?: number;
  /** Longest prompt and longest answer, in the unit that lengths were measured in. No default. */
  readonly maxPromptLength?: number;
  readonly maxCompletionLength?: number;
}

/** One judgement. */
export interface DataCheck {
  readonly name: string;
  readonly passed: boolean;
  readonly measured: number;
  readonly limit: number;
  readonly reason: string;
  /** Lines of rows to look at, the first few. */
  readonly lines: readonly number[];
}

const DEFAULTS = {
  minGap: 0.15,
  minDecontamination: 0.9,
  maxDuplicates: 0.01,
  maxNearDuplicates: 0.05,
  maxDegenerate: 0.01,
  maxCoverageError: 0.05,
} as const;
const MIN_PAIRS = 1000;
/** At least this share of labels on either side: with less, KTO's batches have one class. */
const MIN_LABEL_SHARE = 0.05;
const SHOWN_LINES = 5;
/** 0.75 − 0.7 is not above 0.05. */
const ROUNDING = 1e-9;

/** Every check that applies to the data, in a fixed order. */
export function checkRecords(measures: DataMeasures, limits: DataLimits = {}): DataCheck[] {
  const { maxDuplicates, maxNearDuplicates } = { ...DEFAULTS, ...limits };
  const { kind, rows, duplicates } = measures;
  const minRows = limits.minRows ?? (kind === "preference" ? MIN_PAIRS : 1);
  return [
    atLeast("rows", rows, minRows, `${count(rows, NOUNS[kind])}`),
    atMost(
      "duplicates",
      duplicates.exactRows / rows,
      maxDuplicates,
      `${count(duplicates.exactRows, "row")} of ${rows} repeat another`,
      duplicates.exact.map((lines) => lines[1]!),
    ),
    atMost(
      "near_duplicates",
      duplicates.nearRows / rows,
      maxNearDuplicates,
      `${count(duplicates.nearRows, "row")} of ${rows} nearly repeat another`,
      duplicates.near.map((lines) => lines[1]!),
    ),
    ...answerChecks(measures, limits),
    ...consistencyChecks(measures),
    ...gapChecks(measures, limits),
    ...coverageChecks(measures, limits),
    ...decontaminationChecks(measures, limits),
    ...lengthChecks(measures, limits),
  ];
}

const NOUNS: Readonly<Record<RecordKind, string>> = {
  preference: "pair",
  unpaired: "labelled answer",
  scored: "scored answer",
  prompt: "prompt",
  demonstration: "example",
};

function answerChecks(measures: DataMeasures, limits: DataLimits): DataCheck[] {
  if (measures.kind === "prompt") return [];
  const { degenerate, rows, kind } = measures;
  // A rejected answer may well be bad; that it equals the chosen one is a fault of the pair.
  const bad = degenerate.filter(({ role, fault }) => role !== "rejected" && fault !== "identical");
  const lines = [...new Set(bad.map(({ line }) => line))];
  const faults = (["empty", "repeated", "truncated", "echo"] as const)
    .map((fault): [Degeneracy, number] => [fault, bad.filter((one) => one.fault === fault).length])
    .filter(([, number]) => number > 0)
    .map(([fault, number]) => `${number} ${fault}`)
    .join(", ");
  const answers = kind === "preference" ? "chosen answers" : "answers";
  const identical = degenerate.filter(({ fault }) => fault === "identical").map(({ line }) => line);
  return [
    atMost(
      "degenerate",
      lines.length / rows,
      limits.maxDegenerate ?? DEFAULTS.maxDegenerate,
      `${lines.length} of ${rows} ${answers} are degenerate${faults === "" ? "" : ` (${faults})`}`,
      lines,
    ),
    ...(kind === "preference"
      ? [
          atMost(
            "identical_answers",
            identical.length,
            0,
            `${count(identical.length, "pair")} of ${rows} have the same text as chosen and rejected, which no loss can tell apart`,
            identical,
          ),
        ]
      : []),
  ];
}

function consistencyChecks({ consistency, rows, kind }: DataMeasures): DataCheck[] {
  const { contradictions, labels, scoreGroups } = consistency;
  const checks: DataCheck[] = [];
  if (kind === "preference" || kind === "unpaired") {
    checks.push(
      atMost(
        "contradictions",
        contradictions.length,
        0,
        `${count(contradictions.length, "row")} of ${rows} say the opposite of another row`,
        contradictions.map(([, line]) => line),
      ),
    );
  }
  if (labels !== undefined) {
    const rarer = Math.min(labels.desirable, labels.undesirable);
    checks.push(
      atLeast(
        "label_balance",
        rarer / rows,
        MIN_LABEL_SHARE,
        `${labels.desirable} answers are labelled true and ${labels.undesirable} false${rarer === 0 ? ": one class alone teaches nothing to tell apart" : ""}`,
      ),
    );
  }
  if (scoreGroups !== undefined && scoreGroups.prompts > 0) {
    const { prompts, tied } = scoreGroups;
    checks.push(
      atLeast(
        "score_differences",
        prompts - tied,
        1,
        `${prompts - tied} of ${prompts} prompts with several outputs have scores that differ`,
      ),
    );
  }
  return checks;
}

function gapChecks({ gap }: DataMeasures, limits: DataLimits): DataCheck[] {
  const limit = limits.minGap ?? DEFAULTS.minGap;
  if (gap?.score === undefined) {
    if (gap === undefined || limits.minGap === undefined) return [];
    const reason =
      "no pair has chosen_score and rejected_score, or a margin, so that there is no gap to measure";
    return [{ name: "preference_gap", passed: false, measured: 0, limit, reason, lines: [] }];
  }
  const { normalised, mean, pairs, inverted, tied } = gap.score;
  return [
    atLeast(
      "preference_gap",
      normalised,
      limit,
      `chosen is ${shown(mean)} above rejected on average, ${shown(normalised)} of the scale, over ${count(pairs, "pair")} (${inverted} inverted, ${tied} tied)`,
    ),
  ];
}

function coverageChecks({ categories }: DataMeasures, limits: DataLimits): DataCheck[] {
  const worst = coverageError(categories);
  if (worst === undefined) return [];
  const { share, target } = categories.find(({ category }) => category === worst.category)!;
  return [
    atMost(
      "coverage",
      worst.distance,
      limits.maxCoverageError ?? DEFAULTS.maxCoverageError,
      `category "${worst.category}" is furthest from its target: ${percent(share)} of the rows, wanted ${percent(target!)}`,
    ),
  ];
}

function decontaminationChecks({ decontamination, rows }: DataMeasures, limits: DataLimits): DataCheck[] {
  if (decontamination === undefined) return [];
  const { score, overlaps, evaluationTexts, uncheckedTexts } = decontamination;
  const unchecked = uncheckedTexts === 0 ? "" : `; ${uncheckedTexts} were too short to check`;
  return [
    atLeast(
      "decontamination",
      score,
      limits.minDecontamination ?? DEFAULTS.minDecontamination,
      `${overlaps.length} of ${rows} rows share 13 words with one of ${evaluationTexts} evaluation texts${unchecked}`,
      overlaps.map(({ line }) => line),
    ),
  ];
}

function lengthChecks({ lengths }: DataMeasures, limits: DataLimits): DataCheck[] {
  const check = (name: string, parts: readonly Part[], limit: number | undefined): DataCheck[] => {
    if (limit === undefined) return [];
    const all: LineLength[] = parts.flatMap((part) => lengths.values[part] ?? []);
    if (all.length === 0) return [];
    const longest = all.reduce((a, b) => (b.length > a.length ? b : a));
    const over = all.filter(({ length }) => length > limit);
    const reason = `the longest has ${longest.length} ${lengths.unit}, ${over.length} of ${all.length} are longer than the limit`;
    return [
      atMost(
        name,
        longest.length,
        limit,
        reason,
        over.map(({ line }) => line),
      ),
    ];
  };
  return [
    ...check("prompt_length", ["prompt"], limits.maxPromptLength),
    ...check(
      "completion_length",
      PARTS.filter((part) => part !== "prompt"),
      limits.maxCompletionLength,
    ),
  ];
}

function atLeast(
  name: string,
  measured: number,
  limit: number,
  fact: string,
  lines: readonly number[] = [],
): DataCheck {
  const passed = measured >= limit - ROUNDING;
  const reason = passed ? fact : `${fact}; ${shown(measured)} is below ${shown(limit)}`;
  return { name, passed, measured, limit, reason, lines: firstLines(lines) };
}

function atMost(
  name: string,
  measured: number,
  limit: number,
  fact: string,
  lines: readonly number[] = [],
): DataCheck {
  const passed = measured <= limit + ROUNDING;
  const reason = passed ? fact : `${fact}; ${shown(measured)} is above ${shown(limit)}`;
  return { name, passed, measured, limit, reason, lines: firstLines(lines) };
}

const firstLines = (lines: readonly number[]): number[] => [...new Set(lines)].slice(0, SHOWN_LINES);
const shown = (value: number): string => String(Number(value.toFixed(4)));
const percent = (share: number): string => `${Number((100 * share).toFixed(1))} %`;
const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;
