/** Formula room: rewards to advantages, a batch of rollouts to datums, preferences to datums. One file per algorithm. */
import type { Algorithm } from "./algorithm.js";
import { bnpo } from "./bnpo.js";
import { cispo } from "./cispo.js";
import { dapo } from "./dapo.js";
import { drGrpo } from "./dr-grpo.js";
import { grpo } from "./grpo.js";
import { gspo } from "./gspo.js";
import { reinforce } from "./reinforce.js";
import { rloo } from "./rloo.js";
import { DEFAULT_SETTINGS, PolicySettings } from "./settings.js";

export { type AggregationContext, tokenWeights } from "./aggregation.js";
export type { Advantages, Algorithm, AlgorithmState } from "./algorithm.js";
export { type CompletionFigures, completionMetrics } from "./completion-metrics.js";
export { dynamicSampling, type SamplingDecision, type SamplingLedger } from "./dynamic-sampling.js";
export { groupAdvantages, hasSpread, multiObjectiveAdvantages } from "./group-advantages.js";
export { type ImportanceWeights, importanceWeights } from "./importance-correction.js";
export { type KlEstimates, klEstimates } from "./kl-estimators.js";
export { overlongPenalty } from "./overlong-penalty.js";
export {
  type Answer,
  type AnswerPair,
  answerDatum,
  answerLogprobs,
  type PairDatumOptions,
  pairDatums,
  scoreDatums,
} from "./pair-datums.js";
export { lossFnConfigOf, type PolicyBatch, type PolicyBatchOptions, policyBatch } from "./policy-batch.js";
export { alignedLogprobs, logprobDatum, type PolicySequence } from "./policy-sequence.js";
export {
  CpoSettings,
  cpoLoss,
  DpoLossType,
  DpoSettings,
  dpoLoss,
  KtoSettings,
  ktoLoss,
  OrpoSettings,
  orpoLoss,
  type PreferenceLoss,
  RewardSettings,
  rewardLoss,
} from "./preference-losses.js";
export { DEFAULT_SETTINGS, PolicySettings } from "./settings.js";
export {
  klEstimate,
  type LabelledAnswer,
  mismatchedDatums,
  unpairedDatums,
  unpairedMetrics,
} from "./unpaired-datums.js";

export const ALGORITHMS = {
  grpo,
  dr_grpo: drGrpo,
  dapo,
  bnpo,
  gspo,
  cispo,
  rloo,
  reinforce,
} as const satisfies Readonly<Record<string, Algorithm>>;

export type AlgorithmName = keyof typeof ALGORITHMS;

/** The algorithm's published settings, with what a config says otherwise. */
export function settingsOf(name: AlgorithmName, changes: Partial<PolicySettings> = {}): PolicySettings {
  return PolicySettings.parse({ ...DEFAULT_SETTINGS, ...ALGORITHMS[name].defaults, ...changes });
}
