/** What a sampler is told and what it answers. */
import { z } from "zod";

/**
 * How to draw a completion. `temperature` 0 is greedy; `topK` -1, `topP` 1, `minP` 0 and `repetitionPenalty` 1 are off.
 * Steps in order: repetition penalty, temperature, top-k, top-p, min-p, draw.
 */
export const SamplingParams = z.strictObject({
  maxTokens: z.int().positive().optional(),
  seed: z.int().nonnegative().optional(),
  /** Strings or token ids that end a completion; either is part of `tokens`. Tinker takes no list of both, we do. */
  stop: z.union([z.string(), z.array(z.union([z.string(), z.int().nonnegative()]))]).optional(),
  temperature: z.number().nonnegative().default(1),
  topK: z.int().min(-1).default(-1),
  topP: z.number().gt(0).max(1).default(1),
  /** Leaves out tokens less likely than this times the likeliest one. Ours, not Tinker's. */
  minP: z.number().min(0).max(1).default(0),
  /** Divides positive logits of tokens seen in prompt or completion, and multiplies negative ones (arXiv:1909.05858). Ours. */
  repetitionPenalty: z.number().positive().default(1),
  /**
   * Beam search among so many beams instead of drawing: the best `numSamples` of them, best first. Temperature, truncation
   * and penalty do not apply. Ours.
   */
  numBeams: z.int().positive().optional(),
  /** A finished beam's score is its logprob over length^lengthPenalty. Ours. @default 1 */
  lengthPenalty: z.number().optional(),
  /** When `numBeams` are finished, ends at once; else when no live one can pass them, or "never" short of that. Ours. */
  earlyStopping: z.union([z.boolean(), z.literal("never")]).optional(),
});
export type SamplingParams = z.infer<typeof SamplingParams>;

export type StopReason = "stop" | "length";

/** `tokens` leaves out the prompt and includes the stop token. Lists have one entry per token, in nats. */
export interface SampledSequence {
  readonly stopReason: StopReason;
  readonly tokens: readonly number[];
  /** Under the distribution that was drawn from: after penalty, temperature and truncation. */
  readonly logprobs?: readonly number[];
  /** Under the model as it is: temperature 1, nothing cut off. Ours, not Tinker's. */
  readonly rawLogprobs?: readonly number[];
}

export interface SampleOutput {
  readonly sequences: readonly SampledSequence[];
  /** One entry per prompt token; the first is null. */
  readonly promptLogprobs?: readonly (number | null)[];
}
