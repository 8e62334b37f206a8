/** The metrics of learning from preferences, defined once; names are TRL's, with `eval_` before those of validation. */
import { type MetricDefinition, SFT_METRICS } from "../metrics.js";

const ofTraining = (unit: string, meaning: string): MetricDefinition => ({ unit, meaning, isMachine: false });

/** What a loss says of a batch. */
export const PREFERENCE_METRICS = {
  loss: ofTraining("nats", "The method's loss, mean over the pairs of the step"),
  "rewards/chosen": ofTraining(
    "nats",
    "What the loss takes for the reward of the chosen answer, mean over pairs: β(log π − log π_ref) for dpo, β log π for cpo, β times the mean logprob of a token for simpo and orpo",
  ),
  "rewards/rejected": ofTraining("nats", "The same of the rejected answer"),
  "rewards/accuracies": ofTraining(
    "share",
    "Pairs whose chosen answer has the higher reward; a tie is a miss",
  ),
  "rewards/margins": ofTraining("nats", "Mean of rewards/chosen − rewards/rejected"),
  "logps/chosen": ofTraining(
    "nats",
    "log π of the chosen answer, mean over pairs; of its mean token where the loss takes means",
  ),
  "logps/rejected": ofTraining("nats", "The same of the rejected answer"),
  nll_loss: ofTraining("nats per token", "Supervised part of the loss, before its weight (orpo, cpo, simpo)"),
  log_odds_chosen: ofTraining("nats", "orpo: mean log odds ratio of the chosen over the rejected answer"),
  log_odds_ratio: ofTraining("nats", "orpo: mean of log σ of it"),
  accuracy: ofTraining("share", "reward: pairs whose chosen answer has the higher score; a tie is a miss"),
  margin: ofTraining("1", "reward: mean of the chosen score − the rejected one"),
  min_reward: ofTraining("1", "reward: lowest score of the batch"),
  mean_reward: ofTraining("1", "reward: mean score"),
  max_reward: ofTraining("1", "reward: highest score"),
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** What the loop itself records. */
export const LOOP_METRICS = Object.fromEntries(
  Object.entries(SFT_METRICS).filter(([name]) => !name.startsWith("loss/") && name !== "tokens/supervised"),
);

export function isPreferenceMetric(name: string): boolean {
  return name.replace(/^eval_/, "") in PREFERENCE_METRICS || name in LOOP_METRICS;
}

/** Metrics of a call, with what they are a mean of. */
export interface MeasuredPart {
  readonly metrics: Readonly<Record<string, number>>;
  /** Pairs, of equal weight. */
  readonly count: number;
}

/**
 * The metrics of parts of one batch as those of the whole, their reductions (`:sequence_mean`) taken off the names. Means are
 * over pairs; sums add up, because the weights of datums are those of the whole. Names that are not in `known` are left out.
 */
export function wholeMetrics(
  parts: readonly MeasuredPart[],
  known: Readonly<Record<string, MetricDefinition>> = PREFERENCE_METRICS,
): Record<string, number> {
  const total = parts.reduce((sum, { count }) => sum + count, 0);
  const whole: Record<string, number> = {};
  for (const key of Object.keys(parts[0]?.metrics ?? {})) {
    const [name, reduction] = [key.slice(0, key.lastIndexOf(":")), key.slice(key.lastIndexOf(":") + 1)];
    if (!(name in known)) continue;
    const values = parts.map(({ metrics, count }) => ({ value: metrics[key]!, count }));
    if (reduction === "sum") whole[name] = values.reduce((sum, { value }) => sum + value, 0);
    else if (reduction === "min") whole[name] = Math.min(...values.map(({ value }) => value));
    else if (reduction === "max") whole[name] = Math.max(...values.map(({ value }) => value));
    else whole[name] = values.reduce((sum, { value, count }) => sum + value * count, 0) / total;
  }
  return whole;
}
