/** From a configuration of supervised fine-tuning to what is trained: the engine's options, the size of a micro-batch. */
import type { EngineOptions, EstimateShape } from "../engine/index.js";
import { SftConfig, type SftData, withAbsolutePaths } from "../training/index.js";
import { readJob, type TrainJob, type TrainOptions } from "./train-job.js";

export type TrainSftOptions = TrainOptions;

/** @throws UserError when the options contradict each other, or name nothing that can be trained */
export function readSftJob(options: TrainSftOptions): TrainJob<SftConfig> {
  return readJob(options, "sft", { schema: SftConfig, withAbsolutePaths });
}

/** What the engine must be told. */
export function engineOptionsOf(
  config: Pick<
    SftConfig,
    "model" | "lora" | "quantise" | "gradientCheckpointing" | "microBatchTokens" | "seed" | "threads"
  >,
): EngineOptions {
  const { model, lora, quantise, gradientCheckpointing, microBatchTokens, seed, threads } = config;
  return {
    model,
    ...(lora === undefined ? {} : { lora }),
    ...(quantise === "none" ? {} : { quantise: { block: quantise.block, symmetric: quantise.symmetric } }),
    gradientCheckpointing,
    microBatchTokens,
    seed,
    ...(threads === undefined ? {} : { threads }),
  };
}

/** The largest micro-batch that these rows can make. */
export function microBatchOf({ microBatchTokens, batchSize }: SftConfig, data: SftData): EstimateShape {
  const { length, tokens: allTokens, supervisedTokens } = data.dataset.statistics;
  const longest = Math.max(1, length.max - 1);
  const tokens = Math.max(longest, Math.min(microBatchTokens, batchSize * longest));
  return { tokens, supervised: Math.ceil((tokens * supervisedTokens) / allTokens), longest };
}
