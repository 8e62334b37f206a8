/**
 * What a token's loss is divided by. Losses are plain sums, so the choice is a weight per token; published variants of
 * GRPO differ in little else. B sequences, n_i tokens that the policy sampled in sequence i.
 */
import type { PolicySettings } from "./settings.js";

export interface AggregationContext {
  /** Sampled tokens of each sequence of one optimizer step; 0 where the completion is masked. It still counts in B. */
  readonly counts_B: readonly number[];
  /** Sampled tokens of the generation batch, whose share one optimizer step is. */
  readonly batchTokens: number;
  /** Optimizer steps that the generation batch is split into. */
  readonly steps: number;
}

/**
 * The weight of each sequence's tokens.
 *
 *     sequence_mean      1 / (B n_i)                       GRPO, GSPO, RLOO: completions count alike
 *     token_mean         1 / Σ_i n_i                       BNPO: tokens of the optimizer step count alike
 *     batch_token_mean   steps / tokens of the batch       DAPO, CISPO: tokens of the whole batch count alike
 *     constant_length    1 / (B · maxCompletionLength)     Dr. GRPO: nothing depends on lengths
 */
export function tokenWeights(
  { counts_B, batchTokens, steps }: AggregationContext,
  { aggregation, maxCompletionLength }: Pick<PolicySettings, "aggregation" | "maxCompletionLength">,
): number[] {
  const B = counts_B.length;
  const tokens = counts_B.reduce((a, b) => a + b, 0);
  const weightOf: Readonly<Record<PolicySettings["aggregation"], (count: number) => number>> = {
    sequence_mean: (count) => 1 / (B * count),
    token_mean: () => 1 / tokens,
    batch_token_mean: () => steps / batchTokens,
    constant_length: () => 1 / (B * maxCompletionLength),
  };
  return counts_B.map((count) => (count === 0 ? 0 : weightOf[aggregation](count)));
}
