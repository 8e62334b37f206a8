/**
 * Weights for the gap between the sampler and the trainer: the two compute the same policy with different arithmetic
 * (4-bit weights, a truncated distribution), so samples are slightly off the trainer's policy.
 *
 *     ρ_t = π_trainer(y_t) / μ_sampler(y_t), both at rollout time;   ρ_sequence = Π_t ρ_t
 *
 * `truncate` bounds ρ (truncated importance sampling: Yao et al. 2025, "Your efficient RL framework secretly brings you
 * off-policy RL training"); `mask` drops what lies outside (IcePop, arXiv:2510.18855). TRL's
 * `vllm_importance_sampling_mode`, whose default is "sequence_mask" with an upper bound of 3.
 */
import { zip } from "../base/index.js";
import type { PolicySettings } from "./settings.js";

export interface ImportanceWeights {
  /** What to multiply each token's loss with; 1 for tokens the policy did not sample. */
  readonly weights_T: readonly number[];
  /** The ratios before bounds: one per sampled token, or a single one for the sequence. */
  readonly ratios: readonly number[];
}

/** Both logprobs at the tokens of one sequence, in nats; `sampled_T` is 1 where the policy sampled. */
export function importanceWeights(
  {
    trainingLogprobs_T,
    samplingLogprobs_T,
    sampled_T,
  }: {
    readonly trainingLogprobs_T: readonly number[];
    readonly samplingLogprobs_T: readonly number[];
    readonly sampled_T: readonly number[];
  },
  {
    importanceCorrection,
    importanceMin,
    importanceMax,
  }: Pick<PolicySettings, "importanceCorrection" | "importanceMin" | "importanceMax">,
): ImportanceWeights {
  if (importanceCorrection === "off") return { weights_T: sampled_T.map(() => 1), ratios: [] };
  const logRatios_T = zip(zip(trainingLogprobs_T, samplingLogprobs_T), sampled_T).map(
    ([[training, sampling], sampled]) => (sampled === 0 ? 0 : training - sampling),
  );
  const [low, high] = [importanceMin ?? Number.NEGATIVE_INFINITY, importanceMax ?? Number.POSITIVE_INFINITY];
  const bounded = (ratio: number): number => {
    if (importanceCorrection.endsWith("truncate")) return Math.min(high, Math.max(low, ratio));
    return ratio < low || ratio > high ? 0 : ratio;
  };
  if (importanceCorrection.startsWith("sequence")) {
    const ratio = Math.exp(logRatios_T.reduce((a, b) => a + b, 0));
    return { weights_T: sampled_T.map((sampled) => (sampled === 0 ? 1 : bounded(ratio))), ratios: [ratio] };
  }
  return {
    weights_T: zip(logRatios_T, sampled_T).map(([logRatio, sampled]) =>
      sampled === 0 ? 1 : bounded(Math.exp(logRatio)),
    ),
    ratios: zip(logRatios_T, sampled_T).flatMap(([logRatio, sampled]) =>
      sampled === 0 ? [] : [Math.exp(logRatio)],
    ),
  };
}
