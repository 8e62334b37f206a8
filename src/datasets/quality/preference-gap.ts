/**
 * How far chosen is above rejected: by score, and by length. The first should be large; the second near 0, because a
 * reward model learns length where chosen is nearly always the longer one.
 */
import { mean, median } from "../../base/index.js";
import { answersOf, type DataRecord, type PreferencePair } from "../records/record.js";

export interface PreferenceGap {
  readonly pairs: number;
  /** Absent where no pair has scores or a margin. */
  readonly score?: {
    /** Pairs with scores or a margin. */
    readonly pairs: number;
    /** Mean of score(chosen) − score(rejected); of the margin where there are no scores. */
    readonly mean: number;
    readonly median: number;
    /**
     * The mean over the range of all scores where they leave 0–1 (over the largest margin where it exceeds 1), so that
     * it can be held against a limit whatever the scale.
     */
    readonly normalised: number;
    /** Pairs whose rejected answer has the higher score, and whose scores are equal. */
    readonly inverted: number;
    readonly tied: number;
  };
  readonly length: {
    /** Mean of (characters of chosen − characters of rejected) / (their sum), in −1 … 1. */
    readonly relative: number;
    /** Share of the pairs of unequal length whose chosen answer is the longer one; 0.5 is unbiased. */
    readonly chosenLonger: number;
    readonly equal: number;
  };
}

/** The gap of a set of pairs; undefined where there are none. */
export function preferenceGap(records: readonly DataRecord[]): PreferenceGap | undefined {
  const pairs = records.filter((record): record is PreferencePair => record.kind === "preference");
  if (pairs.length === 0) return undefined;
  const lengths = pairs.map((pair) => {
    const [chosen = 0, rejected = 0] = answersOf(pair).map(({ text }) => text.length);
    return { chosen, rejected };
  });
  const unequal = lengths.filter(({ chosen, rejected }) => chosen !== rejected);
  const longer = unequal.filter(({ chosen, rejected }) => chosen > rejected).length;
  const score = scoreGap(pairs);
  return {
    pairs: pairs.length,
    ...(score === undefined ? {} : { score }),
    length: {
      relative: mean(
        lengths.map(({ chosen, rejected }) => (chosen - rejected) / Math.max(1, chosen + rejected)),
      ),
      chosenLonger: unequal.length === 0 ? 0.5 : longer / unequal.length,
      equal: pairs.length - unequal.length,
    },
  };
}

/** score(chosen) − score(rejected) of every pair that says it, else its margin. */
export function scoreGaps(pairs: readonly PreferencePair[]): number[] {
  return pairs.flatMap(({ chosenScore, rejectedScore, margin }) => {
    if (chosenScore !== undefined && rejectedScore !== undefined) return [chosenScore - rejectedScore];
    return margin === undefined ? [] : [margin];
  });
}

function scoreGap(pairs: readonly PreferencePair[]): PreferenceGap["score"] {
  const gaps = scoreGaps(pairs);
  if (gaps.length === 0) return undefined;
  const scores = pairs.flatMap(({ chosenScore, rejectedScore }) =>
    chosenScore === undefined || rejectedScore === undefined ? [] : [chosenScore, rejectedScore],
  );
  const [low, high] = scores.length > 0 ? [least(scores), largest(scores)] : [0, largest(gaps.map(Math.abs))];
  const range = low < 0 || high > 1 ? high - low : 1;
  return {
    pairs: gaps.length,
    mean: mean(gaps),
    median: median(gaps),
    normalised: mean(gaps) / (range === 0 ? 1 : range),
    inverted: gaps.filter((gap) => gap < 0).length,
    tied: gaps.filter((gap) => gap === 0).length,
  };
}

const least = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b));
const largest = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b));
