/** From a configuration of learning from preferences to what is trained: the engine's options, the reference's numbers. */
import { join } from "node:path";
import type { PreferenceLoss } from "../algorithms/index.js";
import {
  createTrainingClient,
  type EmbeddedTrainingClient,
  type EngineOptions,
  type EstimateShape,
} from "../engine/index.js";
import { checkFits, type TextTokenizer } from "../text/index.js";
import {
  type PairData,
  PREFERENCE_METHODS,
  type PreferenceConfig,
  type PreferenceMethodName,
  type ReferencedPairs,
  type ReferenceSource,
  withAbsolutePreferencePaths,
  withReference,
} from "../training/index.js";
import { hashModel } from "./model-hash.js";
import type { Output } from "./output.js";
import { engineOptionsOf } from "./sft-job.js";
import { readJob, type TrainJob, type TrainOptions } from "./train-job.js";

/** @throws UserError when the options contradict each other, or name nothing that can be trained */
export function readPreferenceJob(
  method: PreferenceMethodName,
  options: TrainOptions,
): TrainJob<PreferenceConfig> {
  const { schema } = PREFERENCE_METHODS[method];
  return readJob(options, method, { schema, withAbsolutePaths: withAbsolutePreferencePaths });
}

/** What the engine must be told; of a reward model, which head it has. */
export function preferenceEngineOptions(config: PreferenceConfig): EngineOptions {
  const { rewardHead } = config;
  return { ...engineOptionsOf(config), ...(rewardHead === undefined ? {} : { rewardHead }) };
}

/** The largest micro-batch that these pairs can make, shared prompts counted for both answers. */
export function pairMicroBatch(
  { microBatchTokens, batchSize }: PreferenceConfig,
  data: PairData,
): EstimateShape {
  const { length, tokens: allTokens, answerTokens } = data.statistics;
  const longest = Math.max(1, length.max - 1);
  const tokens = Math.max(2 * longest, Math.min(microBatchTokens, 2 * batchSize * longest));
  return { tokens, supervised: Math.ceil((tokens * answerTokens) / allTokens), longest };
}

export interface ReferenceJob {
  readonly config: PreferenceConfig;
  readonly loss: PreferenceLoss;
  readonly data: PairData;
  readonly tokenizer: TextTokenizer;
  /** The policy before its first step. */
  readonly client: EmbeddedTrainingClient;
  readonly output: Output;
}

/** The pairs with the reference's logprobs, from disk where they are there; the pairs as they are for losses without one. */
export async function referencedPairs(
  job: ReferenceJob,
): Promise<Pick<ReferencedPairs, "train" | "validation"> & { readonly hash?: string }> {
  const { config, loss, data, tokenizer, output } = job;
  if (!loss.needsReference) return data;
  const opened: Closable[] = [];
  try {
    const referenced = await withReference(data, {
      source: () => openReference(job, opened),
      identity: {
        weights: hashModel(config.referenceModel ?? config.model),
        tokenizer: tokenizer.hash,
        held: JSON.stringify(engineOptionsOf(referenceConfig(config)).quantise ?? "float32"),
      },
      directory: join(config.output, ".hone", "reference"),
      batchSize: config.batchSize,
      onProgress: (done, total) => output.record("reference_progress", { done, total }),
    });
    const { hash, isCached } = referenced;
    output.record("reference", { hash, isCached });
    output.print(
      `The reference's logprobs of ${data.train.length + data.validation.length} pairs are ${isCached ? "on disk already" : "computed"}`,
    );
    return referenced;
  } finally {
    for (const one of opened) await one.close();
  }
}

interface Closable {
  close(): Promise<void>;
}

/** The policy itself, its adapter left out, or a frozen model of its own, which is put to `opened`. */
export async function openReference(
  { config, client, tokenizer }: Pick<ReferenceJob, "config" | "client" | "tokenizer">,
  opened: Closable[],
): Promise<ReferenceSource> {
  if (config.referenceModel === undefined) return { client, withoutAdapter: config.lora !== undefined };
  const options: EngineOptions = engineOptionsOf(referenceConfig(config));
  const frozen = await createTrainingClient(options);
  opened.push(frozen);
  checkFits(tokenizer, config.referenceModel, frozen.info.vocabularySize);
  return { client: frozen, withoutAdapter: false };
}

/** How the reference is loaded: a model of its own is never in 4 bits, for nothing of it is an adapter. */
function referenceConfig(config: PreferenceConfig): PreferenceConfig {
  const { referenceModel, lora: _, ...rest } = config;
  return referenceModel === undefined ? config : { ...rest, model: referenceModel, quantise: "none" };
}
