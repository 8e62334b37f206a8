/** A trajectory as a plain record with its text, as a store or a file keeps it. Knows no store. */
import type { Tokenizer } from "../text/index.js";
import type { Trajectory } from "./trajectory.js";

export interface RolloutRecordOptions {
  readonly step: number;
  readonly tokenizer: Tokenizer;
}

/** Every span with its own text; a character that two spans share shows as a replacement character in both. */
export function rolloutRecord(trajectory: Trajectory, { step, tokenizer }: RolloutRecordOptions) {
  const { reward, failure, tokens_T, spans } = trajectory;
  const invalid =
    reward.kind === "value"
      ? null
      : { boundary: failure?.boundary ?? reward.boundary ?? "reward", reason: reward.reason };
  return {
    step,
    taskId: trajectory.taskId,
    tags: trajectory.tags,
    sample: trajectory.sample,
    seed: trajectory.seed,
    reward: reward.kind === "value" ? reward.value : null,
    invalid,
    components: reward.kind === "value" ? reward.components : [],
    turns: trajectory.turns.map((turn) => ({
      stopReason: turn.stopReason,
      reward: turn.reward.kind === "value" ? turn.reward.value : null,
      metrics: turn.metrics,
    })),
    isTruncated: trajectory.isTruncated,
    tokens_T,
    spans: spans.map((span) => ({ ...span, text: tokenizer.decode(tokens_T.slice(span.start, span.end)) })),
    logprobs_T: trajectory.logprobs_T,
    rawLogprobs_T: trajectory.rawLogprobs_T,
  };
}
