/** Learning-rate schedules: the rate of each step as a pure function. Knows nothing about optimizers. */

export const SCHEDULES = ["constant", "linear", "cosine"] as const;
export type ScheduleName = (typeof SCHEDULES)[number];

export interface Schedule {
  readonly schedule: ScheduleName;
  /** The peak, reached when warmup ends. */
  readonly learningRate: number;
  readonly warmupSteps: number;
}

/**
 * The learning rate of an update.
 *
 *     s < w:     η · s / w
 *     constant:  η
 *     linear:    η · (S − s) / (S − w)
 *     cosine:    η · ½ (1 + cos(π (s − w) / (S − w)))
 *
 * s: updates done before this one (`step`, from 0) · S: all updates (`totalSteps`) · w: `warmupSteps` · η: the peak.
 * As transformers' `get_{constant,linear,cosine}_schedule_with_warmup`: with warmup the first update has rate 0.
 */
export function learningRateAt(
  step: number,
  totalSteps: number,
  { schedule, learningRate, warmupSteps }: Schedule,
): number {
  if (step < warmupSteps) return learningRate * (step / Math.max(1, warmupSteps));
  if (schedule === "constant") return learningRate;
  const decaySteps = Math.max(1, totalSteps - warmupSteps);
  if (schedule === "linear") return learningRate * Math.max(0, (totalSteps - step) / decaySteps);
  const progress = (step - warmupSteps) / decaySteps;
  return learningRate * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
}

/** Warmup in steps, from a number of them or a fraction of all (rounded up, as transformers does). */
export function warmupStepsOf(
  totalSteps: number,
  { warmupSteps, warmupFraction }: { readonly warmupSteps: number; readonly warmupFraction: number },
): number {
  return warmupSteps > 0 ? warmupSteps : Math.ceil(totalSteps * warmupFraction);
}
