/** What a batch of rollouts says before it is trained on, by the names that users of TRL know. */
import { mean } from "../base/index.js";
import { completionMetrics } from "./completion-metrics.js";
import type { PolicySequence } from "./policy-sequence.js";

/** What `policyBatch` read of a valid completion. */
interface ReadSequence {
  readonly sequence: PolicySequence;
  readonly oldLogprobs_T: readonly number[];
  /** Unbounded importance ratios, none where there is no correction. */
  readonly ratios: readonly number[];
}

/** Metrics of which there is nothing to say are left out: no reward of an all-invalid batch. Lengths count sampled tokens. */
export function policyMetrics(
  groups_P_G: readonly (readonly PolicySequence[])[],
  valid: readonly ReadSequence[],
): Record<string, number> {
  const sequences = groups_P_G.flat();
  const metrics = completionMetrics(
    groups_P_G.map((group) =>
      group.map(({ reward, sampled_T, isTruncated = false }) => ({
        reward,
        length: sampled_T.reduce((a, b) => a + b, 0),
        isTruncated,
      })),
    ),
  );
  const put = (
    name: string,
    values: readonly number[],
    reduce: (values: readonly number[]) => number,
  ): void => {
    if (values.length > 0) metrics[name] = reduce(values);
  };
  put(
    "frac_reward_invalid",
    sequences.map(({ reward }) => Number(reward === null)),
    mean,
  );
  const gaps = valid.flatMap(({ sequence: { sampled_T, samplingLogprobs_T, trainingLogprobs_T } }) =>
    trainingLogprobs_T === undefined
      ? []
      : sampled_T.flatMap((sampled, t) =>
          sampled === 0 ? [] : [Math.abs(trainingLogprobs_T[t]! - samplingLogprobs_T[t]!)],
        ),
  );
  put("sampling/sampling_logp_difference/mean", gaps, mean);
  put("sampling/sampling_logp_difference/max", gaps, largest);
  const ratios = valid.flatMap((sequence) => sequence.ratios);
  put("sampling/importance_sampling_ratio/min", ratios, (values) => values.reduce((a, b) => Math.min(a, b)));
  put("sampling/importance_sampling_ratio/mean", ratios, mean);
  put("sampling/importance_sampling_ratio/max", ratios, largest);
  return metrics;
}

function largest(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b));
}
