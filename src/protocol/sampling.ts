/** What a sampler is told and what it answers. */
import { z } from "zod";

/** How to draw a completion. `temperature` 0 is greedy; `topK` -1 and `topP` 1 are off. */
export const SamplingParams = z.strictObject({
  maxTokens: z.int().positive().optional(),
  seed: z.int().nonnegative().optional(),
  stop: z.union([z.string(), z.array(z.string()), z.array(z.int().nonnegative())]).optional(),
  temperature: z.number().nonnegative().default(1),
  topK: z.int().min(-1).default(-1),
  topP: z.number().gt(0).max(1).default(1),
});
export type SamplingParams = z.infer<typeof SamplingParams>;

export type StopReason = "stop" | "length";

/** `tokens` leaves out the prompt and includes the stop token; `logprobs` has one entry per token. */
export interface SampledSequence {
  readonly stopReason: StopReason;
  readonly tokens: readonly number[];
  readonly logprobs?: readonly number[];
}

export interface SampleOutput {
  readonly sequences: readonly SampledSequence[];
  /** One entry per prompt token; the first is null. */
  readonly promptLogprobs?: readonly (number | null)[];
}
