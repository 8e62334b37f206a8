/**
 * What a reward model is worth on pairs: how often it prefers the chosen answer, whether σ(r_w − r_l) is the chance that it
 * does, how much of that is memory of the training pairs, and how much of its judgement is length.
 */
import { mean, standardDeviation } from "../../base/index.js";
import { type Proportion, wilsonInterval } from "../metrics/wilson.js";

/** A pair with the scores it was given. */
export interface ScoredPair {
  readonly chosenScore: number;
  readonly rejectedScore: number;
  /** Tokens of the answers, prompts left out. */
  readonly chosenTokens: number;
  readonly rejectedTokens: number;
  readonly category?: string | undefined;
}

/** Pairs that the model is about equally sure of. */
export interface CalibrationBin {
  /** Bounds of σ(|r_w − r_l|), the chance the model gives its own preference. */
  readonly from: number;
  readonly to: number;
  readonly count: number;
  readonly meanConfidence: number;
  readonly accuracy: number;
}

export interface LengthBias {
  /** Pearson correlation of r_w − r_l with the difference of the answers' tokens; null where either never varies. */
  readonly correlation: number | null;
  /** Among pairs of unequal length: how often the model prefers the longer answer, and how often the data does. */
  readonly modelPrefersLonger: Proportion;
  readonly dataPrefersLonger: Proportion;
}

export interface RewardReport {
  /** Of held-out pairs; a tie is a miss. */
  readonly accuracy: Proportion;
  readonly trainAccuracy: Proportion;
  /** trainAccuracy − accuracy: what is memory. */
  readonly gap: number;
  readonly meanMargin: number;
  readonly calibration: readonly CalibrationBin[];
  /** Expected calibration error: Σ_bins count/n · |accuracy − meanConfidence|. */
  readonly calibrationError: number;
  readonly byCategory: Readonly<Record<string, Proportion>>;
  readonly byLength: Readonly<Record<LengthClass, Proportion>>;
  readonly lengthBias: LengthBias;
  readonly meanScore: number;
  readonly scoreDeviation: number;
}

export const LENGTH_CLASSES = ["chosen shorter", "same length", "chosen longer"] as const;
export type LengthClass = (typeof LENGTH_CLASSES)[number];

const BINS = 5;
const NO_CATEGORY = "(none)";

/** `heldOut`: pairs that were not trained on, at least one. */
export function rewardReport(heldOut: readonly ScoredPair[], train: readonly ScoredPair[]): RewardReport {
  const accuracy = accuracyOf(heldOut);
  const trainAccuracy = accuracyOf(train);
  const calibration = calibrationOf(heldOut);
  const scores = heldOut.flatMap(({ chosenScore, rejectedScore }) => [chosenScore, rejectedScore]);
  const categories = [...new Set(heldOut.map(categoryOf))].sort();
  const ofClass = (wanted: LengthClass) => accuracyOf(heldOut.filter((pair) => lengthClass(pair) === wanted));
  return {
    accuracy,
    trainAccuracy,
    gap: trainAccuracy.value - accuracy.value,
    meanMargin: mean(heldOut.map(marginOf)),
    calibration,
    calibrationError: calibration.reduce(
      (sum, bin) => sum + (bin.count / heldOut.length) * Math.abs(bin.accuracy - bin.meanConfidence),
      0,
    ),
    byCategory: Object.fromEntries(
      categories.map((category) => [
        category,
        accuracyOf(heldOut.filter((pair) => categoryOf(pair) === category)),
      ]),
    ),
    byLength: {
      "chosen shorter": ofClass("chosen shorter"),
      "same length": ofClass("same length"),
      "chosen longer": ofClass("chosen longer"),
    },
    lengthBias: lengthBiasOf(heldOut),
    meanScore: mean(scores),
    scoreDeviation: standardDeviation(scores),
  };
}

const marginOf = ({ chosenScore, rejectedScore }: ScoredPair): number => chosenScore - rejectedScore;
const lengthGap = ({ chosenTokens, rejectedTokens }: ScoredPair): number => chosenTokens - rejectedTokens;
const categoryOf = ({ category }: ScoredPair): string => category ?? NO_CATEGORY;
const lengthClass = (pair: ScoredPair): LengthClass => LENGTH_CLASSES[Math.sign(lengthGap(pair)) + 1]!;

function accuracyOf(pairs: readonly ScoredPair[]): Proportion {
  return wilsonInterval(pairs.filter((pair) => marginOf(pair) > 0).length, pairs.length);
}

function calibrationOf(pairs: readonly ScoredPair[]): CalibrationBin[] {
  const confidence = (pair: ScoredPair): number => 1 / (1 + Math.exp(-Math.abs(marginOf(pair))));
  return Array.from({ length: BINS }, (_, i) => {
    const [from, to] = [0.5 + (0.5 * i) / BINS, 0.5 + (0.5 * (i + 1)) / BINS];
    const inside = pairs.filter(
      (pair) => confidence(pair) >= from && (confidence(pair) < to || i === BINS - 1),
    );
    const count = inside.length;
    const meanConfidence = count === 0 ? 0 : mean(inside.map(confidence));
    return { from, to, count, meanConfidence, accuracy: accuracyOf(inside).value };
  });
}

function lengthBiasOf(pairs: readonly ScoredPair[]): LengthBias {
  const unequal = pairs.filter((pair) => lengthGap(pair) !== 0);
  const longer = (by: (pair: ScoredPair) => number): Proportion =>
    wilsonInterval(unequal.filter((pair) => by(pair) * lengthGap(pair) > 0).length, unequal.length);
  return {
    correlation: correlation(pairs.map(marginOf), pairs.map(lengthGap)),
    modelPrefersLonger: longer(marginOf),
    dataPrefersLonger: longer(() => 1),
  };
}

function correlation(xs: readonly number[], ys: readonly number[]): number | null {
  const [meanX, meanY] = [mean(xs), mean(ys)];
  const product = standardDeviation(xs) * standardDeviation(ys);
  if (product === 0) return null;
  return mean(xs.map((x, i) => (x - meanX) * (ys[i]! - meanY))) / product;
}

/** The report for people. */
export function formatRewardReport(report: RewardReport): string {
  const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
  const proportion = ({ value, low, high, correct, count }: Proportion): string =>
    count === 0
      ? "no pairs"
      : `${percent(value)} (${percent(low)} to ${percent(high)}; ${correct} of ${count})`;
  const { lengthBias } = report;
  const rows = (entries: readonly (readonly [string, string])[]): string =>
    entries.map(([name, value]) => `| ${name.replaceAll("|", "\\|")} | ${value} |`).join("\n");
  return `# Reward model on held-out pairs

Intervals are Wilson's of 95 %. A tie of two scores is a miss.

| measure | value |
|---|---|
${rows([
  ["accuracy, held out", proportion(report.accuracy)],
  ["accuracy, training pairs", proportion(report.trainAccuracy)],
  ["gap", `${(100 * report.gap).toFixed(1)} points`],
  ["mean margin r_w − r_l", report.meanMargin.toFixed(3)],
  ["scores", `mean ${report.meanScore.toFixed(3)}, standard deviation ${report.scoreDeviation.toFixed(3)}`],
  ["expected calibration error", percent(report.calibrationError)],
])}

## Calibration

Where the model gives its preference this chance, how often is it right?

| chance | pairs | mean chance | right |
|---|---|---|---|
${report.calibration
  .map(
    ({ from, to, count, meanConfidence, accuracy }) =>
      `| ${percent(from)} to ${percent(to)} | ${count} | ${count === 0 ? "" : percent(meanConfidence)} | ${count === 0 ? "" : percent(accuracy)} |`,
  )
  .join("\n")}

## Accuracy by category

| category | accuracy |
|---|---|
${rows(Object.entries(report.byCategory).map(([name, value]) => [name, proportion(value)] as const))}

## Length

| pairs | accuracy |
|---|---|
${rows(LENGTH_CLASSES.map((name) => [name, proportion(report.byLength[name])] as const))}

Among pairs of unequal length the model prefers the longer answer in ${proportion(lengthBias.modelPrefersLonger)}, the data in
${proportion(lengthBias.dataPrefersLonger)}. Margins and differences of length correlate by ${lengthBias.correlation === null ? "nothing that can be measured" : lengthBias.correlation.toFixed(2)}.
`;
}
