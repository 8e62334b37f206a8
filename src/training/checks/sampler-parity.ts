/**
 * Sampler and trainer must mean the same by a logprob: a policy gradient weighs tokens by π_θ/μ, and where the two
 * disagree about μ it learns the difference between two programs.
 *
 *     max_t |log μ(y_t) − log π_θ(y_t)| ≤ tolerance      both at the sampling temperature, before the first update
 *
 * A quantised sampler differs by what 4 bits lose; then the mean counts, and importance correction must be on.
 */
import { mean, zip } from "../../base/index.js";
import type { CheckResult } from "./check.js";

export interface LogprobPairs {
  /** Under the sampler, one per sampled token. */
  readonly samplingLogprobs_T: readonly number[];
  /** Of the same tokens under the trainer. */
  readonly trainingLogprobs_T: readonly number[];
}

export function samplerParity(
  { samplingLogprobs_T, trainingLogprobs_T }: LogprobPairs,
  { tolerance, statistic }: { readonly tolerance: number; readonly statistic: "max" | "mean" },
): CheckResult {
  const gaps_T = zip(samplingLogprobs_T, trainingLogprobs_T, "logprobs of sampler and trainer").map(
    ([sampler, trainer]) => Math.abs(sampler - trainer),
  );
  // NaN must fail, and Math.max would hide behind a comparison.
  const broken = gaps_T.find((gap) => !Number.isFinite(gap));
  const measured =
    broken ??
    (statistic === "max" ? gaps_T.reduce((largest, gap) => Math.max(largest, gap), 0) : mean(gaps_T));
  const passed = measured <= tolerance;
  return {
    name: "sampler_parity",
    passed,
    measured,
    limit: tolerance,
    reason: `logprobs of sampler and trainer differ by ${measured.toExponential(2)} nats (${statistic} over ${gaps_T.length} sampled tokens), ${passed ? "within" : "expected at most"} ${tolerance}`,
  };
}
