/**
 * The configuration of reinforcement learning with verifiable rewards, whatever the algorithm. Prompts per step and
 * completions per prompt are configured; everything else about the batch follows from them and is printed.
 */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { ALGORITHMS, type AlgorithmName, PolicySettings, settingsOf } from "../algorithms/index.js";
import { SPLITS, TextToSqlConfig } from "../envs/index.js";
import { GUARD_ACTIONS, GUARDS, type Guard } from "./guards/index.js";
import { loadConfig } from "./load-config.js";
import { Lora, OPTIMIZER_KEYS, Quantise } from "./run-keys.js";
import { SCHEDULES } from "./schedule.js";

const ALGORITHM_NAMES = Object.keys(ALGORITHMS) as AlgorithmName[]; // Object.keys forgets which keys they are
const positive = z.int().positive();
const count = z.int().nonnegative();
const name = z.string().min(1);
const share = z.number().min(0).max(1);

const Sampling = z.strictObject({
  temperature: z.number().positive().default(1).describe("Logits are divided by it"),
  topP: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe("Draws from the likeliest tokens that hold this share")
    .meta({ aliases: ["top_p"] }),
  topK: z
    .int()
    .min(-1)
    .default(-1)
    .describe("Draws from so many likeliest tokens; -1: from all")
    .meta({ aliases: ["top_k"] }),
  minP: share
    .default(0)
    .describe("Leaves out tokens less likely than this times the likeliest")
    .meta({ aliases: ["min_p"] }),
});

const Environment = z.strictObject({
  ...TextToSqlConfig.shape,
  name: TextToSqlConfig.shape.name.describe("The environment"),
  split: z.enum(SPLITS).default("rl").describe("Questions to learn from"),
  validationSplit: z.enum(SPLITS).default("validation").describe("Questions to validate on"),
});

const Validation = z.strictObject({
  every: count
    .default(50)
    .describe("Steps between validations; 0: only before the first step and after the last")
    .meta({ aliases: ["eval_steps", "evalEvery"] }),
  tasks: positive.optional().describe("Validation tasks at most; all of them"),
  metric: name
    .default("reward")
    .describe("What is compared: reward, or a metric of the environment such as correct"),
  patience: count
    .default(0)
    .describe("Ends the run after so many validations without a better one; 0: never")
    .meta({ aliases: ["early_stopping_patience"] }),
  minGain: z
    .number()
    .nonnegative()
    .default(0)
    .describe("What a validation must gain to be better")
    .meta({ aliases: ["early_stopping_threshold"] }),
});

const DynamicSampling = z.strictObject({
  budget: z
    .number()
    .min(1)
    .default(3)
    .describe("Groups drawn for a step at most, as a multiple of promptsPerStep"),
});

const OverlongPenalty = z.strictObject({
  cacheLength: positive.describe("Tokens before maxTokens over which the reward falls by 1"),
});

const CurriculumConfig = z.strictObject({
  tag: name.default("hardness").describe("Tag of the tasks that says their level"),
  order: z.array(name).min(2).describe("Its values, from the one to begin with to the last"),
  openBy: share.default(0.5).describe("Share of the run after which every level is open"),
});

const Checks = z.strictObject({
  tasks: positive.default(8).describe("Tasks that the checks before the first step look at"),
  logprobTolerance: z
    .number()
    .positive()
    .default(1e-3)
    .describe("Largest gap between logprobs of sampler and trainer, in nats"),
  quantisedLogprobTolerance: z
    .number()
    .positive()
    .default(0.3)
    .describe("The same on average, where the sampler is quantised"),
  referenceTolerance: z
    .number()
    .positive()
    .default(1e-3)
    .describe("Largest mean gap between policy and reference before the first update, in nats"),
  refuse: z.boolean().default(true).describe("Refuses to train when a check fails; false only says so"),
});

const Guards = z.strictObject({
  kl: boundsOf(GUARDS.kl).describe("KL to the reference, in nats per token"),
  entropy: boundsOf(GUARDS.entropy).describe("Entropy, as a share of the first step's"),
  gradNorm: boundsOf(GUARDS.gradNorm).describe("Gradient norm before clipping"),
  zeroVariance: boundsOf(GUARDS.zeroVariance).describe("Share of groups whose rewards are all equal"),
  length: boundsOf(GUARDS.length).describe("Mean length, as a multiple of the first step's"),
  truncation: boundsOf(GUARDS.truncation).describe("Share of completions cut off"),
  invalid: boundsOf(GUARDS.invalid).describe("Share of rollouts without a valid reward"),
});

const Fields = z.strictObject({
  model: name
    .describe("Directory of the model to train, in Hugging Face layout")
    .meta({ aliases: ["model_name_or_path"] }),
  adapter: name.optional().describe("PEFT adapter to start from, such as the one SFT made"),
  output: name
    .default(".")
    .describe("Project directory: the run goes to runs/ in it")
    .meta({ aliases: ["output_dir"] }),
  name: name
    .optional()
    .describe("Title of the run")
    .meta({ aliases: ["run_name"] }),
  algorithm: z
    .enum(ALGORITHM_NAMES)
    .default("grpo")
    .describe("Rewards to advantages, and the loss")
    .meta({ aliases: ["loss_type"] }),
  settings: PolicySettings.partial()
    .default({})
    .describe("What the algorithm does otherwise than as published"),
  environment: Environment.describe("What is done and how it is rewarded").meta({
    aliases: ["env", "reward_funcs"],
  }),
  promptsPerStep: positive
    .default(8)
    .describe("Prompts of a step; each gets groupSize completions")
    .meta({ aliases: ["per_device_train_batch_size", "generation_batch_size", "batchSize"] }),
  groupSize: positive
    .default(8)
    .describe("Completions of a prompt")
    .meta({ aliases: ["num_generations"] }),
  sampling: Sampling.prefault({}).describe("How completions are drawn"),
  maxTokens: positive
    .default(512)
    .describe("Tokens of a completion at most")
    .meta({ aliases: ["max_completion_length", "max_new_tokens"] }),
  promptFormat: z
    .enum(["auto", "chat", "plain"])
    .default("auto")
    .describe(
      "chat: the model's template; plain: text, as prompt-and-completion training has it; auto: chat where there is a template",
    ),
  maxTurns: positive.default(16).describe("Completions of an episode at most"),
  maxSteps: positive
    .default(200)
    .describe("Steps: each draws a batch and learns from it")
    .meta({ aliases: ["max_steps", "num_train_epochs", "epochs"] }),
  epochsPerBatch: positive
    .default(1)
    .describe("Times a batch is learned from")
    .meta({ aliases: ["num_iterations"] }),
  updatesPerEpoch: positive
    .default(1)
    .describe("Parts a batch is cut into, with an update after each")
    .meta({ aliases: ["steps_per_generation"] }),
  learningRate: z
    .number()
    .positive()
    .optional()
    .describe("Peak learning rate; 1e-6, with LoRA 1e-5")
    .meta({ aliases: ["lr"] }),
  schedule: z
    .enum(SCHEDULES)
    .default("linear")
    .describe("How the rate falls after warmup")
    .meta({ aliases: ["lr_scheduler_type"] }),
  warmupSteps: count.default(0).describe("Steps in which the rate rises from 0"),
  ...OPTIMIZER_KEYS,
  seed: count.max(0xffffffff).default(42).describe("Of the order of tasks, of samples and of fresh adapters"),
  validation: Validation.prefault({}).describe("Greedy rollouts on tasks set apart"),
  saveEvery: count
    .default(50)
    .describe("Steps between checkpoints; 0: only at the end")
    .meta({ aliases: ["save_steps"] }),
  keepCheckpoints: count
    .default(1)
    .describe("Checkpoints kept for the best validation, beside the last")
    .meta({ aliases: ["save_total_limit"] }),
  dynamicSampling: DynamicSampling.optional().describe(
    "DAPO: draws further prompts where rewards are all equal; `dynamicSampling: {}` takes its default",
  ),
  overlongPenalty: OverlongPenalty.optional().describe(
    "DAPO: takes up to 1 off the reward of a completion that comes near maxTokens",
  ),
  curriculum: CurriculumConfig.optional().describe("Begins with the easy tasks"),
  maxInvalidShare: share
    .default(0.1)
    .describe("A step with a larger share of rollouts without a valid reward ends the run"),
  rolloutTimeoutSeconds: z.number().positive().default(120).describe("How long an episode may take"),
  checks: Checks.prefault({}).describe("What must hold before the first step"),
  guards: Guards.prefault({}).describe("Healthy ranges while training; a guard set to null is off"),
  lora: Lora.optional()
    .describe("Trains a LoRA adapter instead of all weights")
    .meta({ aliases: ["use_peft", "peft"] }),
  quantise: z
    .union([z.literal("none"), Quantise])
    .default("none")
    .describe("Keeps the base model in 4 bits (QLoRA); needs lora")
    .meta({ aliases: ["load_in_4bit"] }),
  microBatchTokens: positive
    .default(4096)
    .describe("Tokens computed at once; less needs less memory and changes no gradient")
    .meta({ aliases: ["gradient_accumulation_steps"] }),
  gradientCheckpointing: z.boolean().default(false).describe("Computes activations twice to keep fewer"),
  threads: positive.optional().describe("CPU threads; one per physical core"),
});
type Fields = z.output<typeof Fields>;

/** Configuration as given → as resolved, every default filled in. Unknown keys and contradictions are refused. */
export const RlConfig = Fields.superRefine((config, context) => {
  for (const { path, sentence } of contradictions(config)) {
    context.addIssue({ code: "custom", path: [...path], message: sentence });
  }
}).transform((config) => ({
  ...config,
  // TRL's default for GRPO; an adapter takes ten times as much, as in SFT.
  learningRate:
    config.learningRate ?? (config.lora === undefined && config.adapter === undefined ? 1e-6 : 1e-5),
  settings: policySettingsOf(config),
}));
export type RlConfig = z.output<typeof RlConfig>;

/** Reads a configuration; its paths are taken from the file's own directory and made absolute. */
export function loadRlConfig(path: string): RlConfig {
  return withAbsoluteRlPaths(loadConfig(path, RlConfig), dirname(resolve(path)));
}

/** `config` with its folders taken from `directory`. */
export function withAbsoluteRlPaths(config: RlConfig, directory: string): RlConfig {
  return {
    ...config,
    model: resolve(directory, config.model),
    output: resolve(directory, config.output),
    environment: { ...config.environment, data: resolve(directory, config.environment.data) },
    ...(config.adapter === undefined ? {} : { adapter: resolve(directory, config.adapter) }),
  };
}

/** The algorithm's published settings with what the user changed. */
function policySettingsOf({ algorithm, settings, maxTokens, quantise }: Fields): PolicySettings {
  // A key that was left out has the value undefined.
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  return settingsOf(algorithm, {
    maxCompletionLength: maxTokens,
    // 4-bit kernels of sampler and trainer round differently.
    ...(quantise === "none" ? {} : { importanceCorrection: "token_truncate" }),
    ...given,
  });
}

/** Bounds of one guard, with its own defaults. */
function boundsOf({ defaults, side }: Guard) {
  const { warn, limit, action, patience } = defaults;
  const where = side === "above" ? "at and above" : "at and below";
  const bounds = z.strictObject({
    warn: z.number().default(warn).describe(`Says so ${where} this`),
    limit: z.number().default(limit).describe("Acts from here on"),
    action: z.enum(GUARD_ACTIONS).default(action).describe("What is done"),
    patience: positive.default(patience).describe("Steps in a row before it counts"),
  });
  return z.union([bounds, z.null()]).prefault({});
}

interface Contradiction {
  readonly path: readonly string[];
  readonly sentence: string;
}

function contradictions(config: Fields): Contradiction[] {
  const { algorithm, groupSize, promptsPerStep, updatesPerEpoch, lora, quantise, adapter } = config;
  const found: Contradiction[] = [];
  const refuse = (path: readonly string[], sentence: string): void => void found.push({ path, sentence });
  if (groupSize === 1 && algorithm !== "reinforce") {
    refuse(
      ["groupSize"],
      `groupSize is 1 with algorithm ${algorithm}, expected at least 2: with one completion a group's advantages are all 0. Take algorithm: reinforce for groups of one`,
    );
  }
  if (updatesPerEpoch > promptsPerStep) {
    refuse(
      ["updatesPerEpoch"],
      `updatesPerEpoch is ${updatesPerEpoch} and promptsPerStep ${promptsPerStep}, expected at most as many updates as groups`,
    );
  }
  const { maxTokens, overlongPenalty } = config;
  if (overlongPenalty !== undefined && overlongPenalty.cacheLength > maxTokens) {
    refuse(
      ["overlongPenalty"],
      `overlongPenalty.cacheLength is ${overlongPenalty.cacheLength} and maxTokens ${maxTokens}, expected no more than maxTokens: else an empty completion is overlong. DAPO's is a fifth of the limit`,
    );
  }
  if (quantise !== "none" && lora === undefined && adapter === undefined) {
    refuse(
      ["quantise"],
      "quantise is set without lora, expected both: 4-bit weights cannot be trained. Add lora: {}",
    );
  }
  if (lora !== undefined && adapter !== undefined) {
    refuse(
      ["adapter"],
      "adapter and lora are both set, expected one of them: an adapter brings its own rank and targets",
    );
  }
  return found;
}
