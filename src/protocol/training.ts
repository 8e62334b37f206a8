/** What a trainer is told and what it answers. */
import { z } from "zod";
import type { TensorData } from "./datum.js";

/** Tinker's losses, which every engine knows. */
export const TinkerLossFnName = z.enum(["cross_entropy", "importance_sampling", "ppo", "cispo", "dro"]);
export type TinkerLossFnName = z.infer<typeof TinkerLossFnName>;

/**
 * Tinker's losses and ours: `grpo`, `gspo`, `rloo` and `weighted_cispo` weigh tokens, and know a KL to the reference and
 * an entropy bonus; `dpo`, `cpo`, `simpo` and `orpo` compare neighbouring datums, chosen before rejected; `kto` judges each alone;
 * `bradley_terry` trains the scores of a reward model. An engine that lacks ours gets them in two passes (losses/two-pass.ts). All are plain sums over
 * tokens and datums: nothing is averaged.
 */
export const LossFnName = z.enum([
  ...TinkerLossFnName.options,
  "grpo",
  "gspo",
  "rloo",
  "weighted_cispo",
  "dpo",
  "cpo",
  "simpo",
  "orpo",
  "kto",
  "bradley_terry",
]);
export type LossFnName = z.infer<typeof LossFnName>;

/** Named numbers of a loss, such as `clip_low_threshold`. */
export const LossFnConfig = z.record(z.string(), z.number());
export type LossFnConfig = z.infer<typeof LossFnConfig>;

/** AdamW with decoupled decay: p ← p(1 − lr·wd) − lr·m̂/(√v̂ + eps). `gradClipNorm` 0 means no clipping. */
export const AdamParams = z.strictObject({
  learningRate: z.number().nonnegative().default(1e-4),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.95),
  eps: z.number().positive().default(1e-12),
  weightDecay: z.number().nonnegative().default(0),
  gradClipNorm: z.number().nonnegative().default(0),
});
export type AdamParams = z.infer<typeof AdamParams>;

/** One record of named tensors per datum (`logprobs`, or `scores` of a reward model, and `elementwise_loss`), in order, and metrics whose names end in `:sum`, `:mean`, `:max`… */
export interface ForwardBackwardOutput {
  readonly lossFnOutputs: readonly Readonly<Record<string, TensorData>>[];
  readonly metrics: Readonly<Record<string, number>>;
}

/** `gradNorm` is the global L2 norm before clipping. */
export interface OptimStepOutput {
  readonly metrics: Readonly<Record<string, number>>;
}
