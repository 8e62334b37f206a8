/**
 * The configurations of learning from preferences: what all methods share, and each method's own keys. Names are TRL's in
 * camelCase, defaults those of its configs unless a line says otherwise.
 */
import { resolve } from "node:path";
import { z } from "zod";
import {
  CpoSettings,
  DpoLossType,
  DpoSettings,
  OrpoSettings,
  RewardSettings,
} from "../../algorithms/index.js";
import {
  LOOP_KEYS as ALL_LOOP_KEYS,
  commonContradictions,
  MODEL_KEYS,
  refuseContradictions,
  SPLIT_KEYS,
} from "../run-keys.js";

const name = z.string().min(1);

const Columns = z.strictObject({
  prompt: name.optional().describe("Column that holds the prompt"),
  chosen: name.optional().describe("Column that holds the better answer"),
  rejected: name.optional().describe("Column that holds the worse one"),
  tools: name.optional().describe("Column that holds the tools of a conversation"),
  category: name.optional().describe("Column that holds the category, for reports"),
});

const DATA_KEYS = {
  ...SPLIT_KEYS,
  train: name
    .describe("JSON Lines or Parquet file to train on")
    .meta({ aliases: ["dataset", "dataset_name", "train_file"] }),
  validation: name
    .optional()
    .describe("The same to validate on")
    .meta({ aliases: ["eval", "eval_dataset", "test"] }),
  promptIn: z
    .enum(["auto", "column", "answers"])
    .default("auto")
    .describe("Where a pair's prompt stands: in its column, or at the start of both answers"),
  asChat: z
    .boolean()
    .default(false)
    .describe("Makes prompt and answers messages of user and assistant, for the model's chat template"),
  system: z.string().optional().describe("System message before the user's; needs asChat"),
  addBos: z
    .union([z.boolean(), z.literal("auto")])
    .default("auto")
    .describe("A BOS before prompts of plain text; auto does as the tokenizer does"),
  addEos: z.boolean().default(true).describe("An EOS after answers of plain text that lack one"),
  maxDroppedFraction: z
    .number()
    .min(0)
    .max(1)
    .default(0.05)
    .describe("Refuses data of which a larger share is dropped: empty answers, prompts that leave no room"),
};

const LENGTH_KEYS = {
  maxLength: z
    .int()
    .min(2)
    .default(1024)
    .describe("Tokens of prompt and answer at most")
    .meta({ aliases: ["max_length", "max_seq_length", "sequence_len"] }),
  truncation: z
    .enum(["keep_start", "keep_end", "refuse"])
    .default("keep_start")
    .describe(
      "What becomes of longer pairs: cut at the end; cut at the start of the prompt, of both answers alike; or refused",
    )
    .meta({ aliases: ["truncation_mode"] }),
};

const REFERENCE_KEYS = {
  referenceModel: name
    .optional()
    .describe("Directory of the reference model; left out, the model as it is before training")
    .meta({ aliases: ["ref_model", "ref_model_name_or_path"] }),
  precomputeRefLogProbs: z
    .literal(true)
    .default(true)
    .describe("The reference's logprobs are always computed once, before step 1, and kept on disk")
    .meta({ aliases: ["precompute_ref_log_probs", "precompute_ref_batch_size"] }),
};

const LOOP_KEYS = {
  ...ALL_LOOP_KEYS,
  learningRate: ALL_LOOP_KEYS.learningRate.describe("Peak learning rate; 1e-6, with LoRA 1e-5"),
};

const PairData = z.strictObject({
  ...DATA_KEYS,
  columns: Columns.optional().describe("Names of the columns, where the file calls them otherwise"),
});

const aliased = (...aliases: readonly string[]) => ({ aliases });
const PAIR_KEYS = {
  ...MODEL_KEYS,
  data: PairData.describe("Pairs to train on: prompt, chosen and rejected"),
};

const DpoFields = z.strictObject({
  ...PAIR_KEYS,
  lossType: z
    .union([DpoLossType, z.array(DpoLossType).min(1)])
    .default("sigmoid")
    .describe("Loss of a pair, or several, which are added (algorithms/dpo.md)")
    .meta(aliased("loss_type")),
  lossWeights: DpoSettings.shape.lossWeights.meta(aliased("loss_weights")),
  beta: DpoSettings.shape.beta,
  labelSmoothing: DpoSettings.shape.labelSmoothing.meta(aliased("label_smoothing")),
  ...REFERENCE_KEYS,
  ...LENGTH_KEYS,
  ...LOOP_KEYS,
});

const OrpoFields = z.strictObject({
  ...PAIR_KEYS,
  beta: OrpoSettings.shape.beta.meta(aliased("lambda")),
  ...LENGTH_KEYS,
  ...LOOP_KEYS,
});

const { shape: CPO } = CpoSettings;
const CpoFields = z.strictObject({
  ...PAIR_KEYS,
  lossType: CPO.lossType.meta(aliased("loss_type")),
  beta: CPO.beta,
  labelSmoothing: CPO.labelSmoothing.meta(aliased("label_smoothing")),
  cpoAlpha: CPO.cpoAlpha.meta(aliased("cpo_alpha")),
  simpoGamma: CPO.simpoGamma.meta(aliased("simpo_gamma")),
  ...LENGTH_KEYS,
  ...LOOP_KEYS,
});

const positive = z.number().positive();
const SimpoFields = z.strictObject({
  ...PAIR_KEYS,
  // The paper's, not TRL's 0.1, 0.5 and 1: there the margin outweighs all that rewards can be.
  beta: positive.default(2).describe("Scale of the mean logprob; the paper's is 2 to 10, TRL's default 0.1"),
  simpoGamma: CPO.simpoGamma
    .unwrap()
    .default(1)
    .describe(
      "Margin that the chosen reward should have; the paper's is 0.3 to 0.6 of beta, TRL's default 0.5",
    )
    .meta(aliased("simpo_gamma")),
  labelSmoothing: CPO.labelSmoothing.meta(aliased("label_smoothing")),
  cpoAlpha: CPO.cpoAlpha
    .unwrap()
    .default(0)
    .describe("Weight of supervised training on the chosen answer; TRL's default is 1")
    .meta(aliased("cpo_alpha")),
  ...LENGTH_KEYS,
  ...LOOP_KEYS,
});

const RewardFields = z.strictObject({
  ...PAIR_KEYS,
  rewardHead: z
    .enum(["fresh", "stored"])
    .default("fresh")
    .describe("A new score head on a model that predicts tokens, or that of a reward model to go on with"),
  centerRewardsCoefficient: RewardSettings.shape.centerRewardsCoefficient.meta(
    aliased("center_rewards_coefficient"),
  ),
  ...LENGTH_KEYS,
  ...ALL_LOOP_KEYS,
  learningRate: ALL_LOOP_KEYS.learningRate.describe("Peak learning rate; 1e-4, with LoRA 1e-3"),
});

/** The keys that the loop and the data need, whatever the method. */
const Shared = z.object({ ...PAIR_KEYS, ...LENGTH_KEYS, ...LOOP_KEYS });
type Shared = z.output<typeof Shared>;

/** What every configuration of this folder has once it is resolved. */
export type PreferenceConfig = Shared & {
  readonly learningRate: number;
  readonly referenceModel?: string | undefined;
  readonly rewardHead?: "fresh" | "stored" | undefined;
};

/** TRL's learning rate of its preference trainers, and that of adapters. */
const RATES = { full: 1e-6, lora: 1e-5 };

/** As given → as resolved. LoRA takes ten times the rate of all weights, as "LoRA Without Regret" (Schulman 2025) finds. */
function resolved<S extends z.ZodType<Shared>>(fields: S, { full, lora }: typeof RATES) {
  return fields
    .superRefine((config, context) => {
      const found = commonContradictions(config);
      if (config.data.system !== undefined && !config.data.asChat) {
        const sentence = "data.system is set without data.asChat, expected asChat: true";
        found.push({ path: ["data", "system"], sentence });
      }
      refuseContradictions(found, context);
    })
    .transform((config) => ({
      ...config,
      learningRate: config.learningRate ?? (config.lora === undefined ? full : lora),
    }));
}

export const DpoConfig = resolved(
  DpoFields.superRefine(({ lossType, lossWeights }, context) => {
    const types = [lossType].flat();
    const found = [];
    if (lossWeights !== undefined && lossWeights.length !== types.length) {
      const sentence = `lossWeights has ${lossWeights.length} numbers for ${types.length} loss types, expected one for each`;
      found.push({ path: ["lossWeights"], sentence });
    }
    if (new Set(types).size !== types.length) {
      found.push({ path: ["lossType"], sentence: "lossType names a type twice, expected each once" });
    }
    refuseContradictions(found, context);
  }),
  RATES,
);
export const OrpoConfig = resolved(OrpoFields, RATES);
export const CpoConfig = resolved(CpoFields, RATES);
export const SimpoConfig = resolved(SimpoFields, RATES);
/** TRL's rate of its reward trainer, and that of adapters: a fresh head learns from nothing. */
export const RewardConfig = resolved(RewardFields, { full: 1e-4, lora: 1e-3 });

/** `config` with its models, output and data files taken from `directory`. */
export function withAbsolutePreferencePaths<C extends PreferenceConfig>(config: C, directory: string): C {
  const { data, referenceModel } = config;
  return {
    ...config,
    model: resolve(directory, config.model),
    output: resolve(directory, config.output),
    ...(referenceModel === undefined ? {} : { referenceModel: resolve(directory, referenceModel) }),
    data: {
      ...data,
      train: resolve(directory, data.train),
      ...(data.validation === undefined ? {} : { validation: resolve(directory, data.validation) }),
    },
  };
}
