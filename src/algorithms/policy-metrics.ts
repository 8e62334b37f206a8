/** What a batch of rollouts says before it is trained on, by the names that users of TRL know. */
import { mean } from "../base/index.js";
import { hasSpread, spread } from "./group-advantages.js";
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
  const metrics: Record<string, number> = {};
  const put = (
    name: string,
    values: readonly number[],
    reduce: (values: readonly number[]) => number,
  ): void => {
    if (values.length > 0) metrics[name] = reduce(values);
  };
  const rewards = valid.map(({ sequence }) => sequence.reward!);
  put("reward", rewards, mean);
  put("reward_std", rewards, spread);
  const flat = groups_P_G.flatMap((group) => {
    const rewards_G = group.flatMap(({ reward }) => (reward === null ? [] : [reward]));
    return rewards_G.map(() => Number(!hasSpread(rewards_G)));
  });
  put("frac_reward_zero_std", flat, mean);
  put(
    "frac_reward_invalid",
    sequences.map(({ reward }) => Number(reward === null)),
    mean,
  );
  const lengthOf = ({ sampled_T }: PolicySequence): number => sampled_T.reduce((a, b) => a + b, 0);
  for (const [what, chosen] of [
    ["length", sequences],
    ["terminated_length", sequences.filter(({ isTruncated = false }) => !isTruncated)],
  ] as const) {
    const lengths = chosen.map(lengthOf);
    put(`completions/mean_${what}`, lengths, mean);
    put(`completions/min_${what}`, lengths, (values) => values.reduce((a, b) => Math.min(a, b)));
    put(`completions/max_${what}`, lengths, largest);
  }
  put(
    "completions/clipped_ratio",
    sequences.map(({ isTruncated = false }) => Number(isTruncated)),
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
