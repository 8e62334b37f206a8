/** Supervised fine-tuning on the loop over rows: the token-mean cross-entropy of a batch, and of the validation rows. */
import { hashRows, type TrainingRow } from "../datasets/index.js";
import type { TrainingClient } from "../protocol/index.js";
import { brokenDatums, crossEntropyBatch, lossOf } from "./cross-entropy.js";
import type { SftMetrics } from "./metrics.js";
import {
  type LoopConfig,
  type LoopProgress,
  type LoopResult,
  type RowMethod,
  type RunRowsOptions,
  runRows,
} from "./row-loop.js";

export type SftLoopConfig = LoopConfig;
export type SftProgress = LoopProgress;
export type SftResult = LoopResult;

export interface RunSftOptions extends Omit<RunRowsOptions<TrainingRow>, "method"> {
  /** @default none: no validation loss */
  readonly validation?: readonly TrainingRow[];
}

/**
 * Trains `client` on `train`.
 *
 * @throws UserError when a loss or gradient is not finite: before the update, the last checkpoint untouched.
 */
export function runSft({ validation = [], ...options }: RunSftOptions): Promise<SftResult> {
  const { client, train, config } = options;
  const method: RowMethod<TrainingRow> = {
    name: "sft",
    gradient: async (rows) => {
      const batch = crossEntropyBatch(rows);
      const output = await client.forwardBackward(batch.datums, "cross_entropy");
      const loss = lossOf(batch.datums, output);
      return {
        loss,
        tokens: batch.tokens,
        broken: brokenDatums(batch.datums, output),
        metrics: {
          "loss/train": loss,
          "tokens/supervised": batch.supervisedTokens,
        } satisfies SftMetrics,
      };
    },
    ...(validation.length === 0
      ? {}
      : { validate: () => validationOf(client, validation, config.batchSize) }),
    terms: { "training data": hashRows(train), "validation data": hashRows(validation) },
  };
  return runRows({ ...options, method });
}

/** The token-mean loss over all validation rows. */
async function validationOf(client: TrainingClient, validation: readonly TrainingRow[], batchSize: number) {
  let sum = 0;
  let tokens = 0;
  for (let start = 0; start < validation.length; start += batchSize) {
    const batch = crossEntropyBatch(validation.slice(start, start + batchSize), 1);
    const output = await client.forward(batch.datums, "cross_entropy", { supervisedOnly: true });
    sum += lossOf(batch.datums, output);
    tokens += batch.supervisedTokens;
  }
  const loss = sum / tokens;
  return { loss, metrics: { "loss/validation": loss } satisfies SftMetrics };
}
