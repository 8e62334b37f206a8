/** The keys that every training from rows of data has, with TRL's defaults; a method adds its own between them. */
import { z } from "zod";
import { SCHEDULES } from "./schedule.js";

const positive = z.int().positive();
const count = z.int().nonnegative();
const name = z.string().min(1);

export const Lora = z.strictObject({
  rank: positive
    .default(16)
    .describe("Rank of the adapter")
    .meta({ aliases: ["r", "lora_r"] }),
  alpha: z
    .number()
    .positive()
    .default(32)
    .describe("The adapter is scaled by alpha ÷ rank")
    .meta({ aliases: ["lora_alpha"] }),
  targets: z
    .union([z.literal("all-linear"), z.array(name).min(1)])
    .default("all-linear")
    .describe("Projections that get an adapter: names such as q_proj, or all but the head")
    .meta({ aliases: ["target_modules", "targetModules"] }),
  rsLora: z
    .boolean()
    .default(false)
    .describe("Scales by alpha ÷ √rank instead (arXiv:2312.03732)")
    .meta({ aliases: ["use_rslora"] }),
});

export const Quantise = z.strictObject({
  bits: z.literal(4).default(4).describe("Bits per weight"),
  block: z
    .union([z.literal(32), z.literal(128)])
    .default(32)
    .describe("Weights that share a scale"),
  symmetric: z.boolean().default(true).describe("Without a zero point"),
});

/** What is trained, and where the run goes. */
export const MODEL_KEYS = {
  model: name
    .describe("Directory of the model to train, in Hugging Face layout")
    .meta({ aliases: ["model_name_or_path", "base_model"] }),
  output: name
    .default(".")
    .describe("Project directory: the run goes to runs/ in it")
    .meta({ aliases: ["output_dir"] }),
  name: name
    .optional()
    .describe("Title of the run")
    .meta({ aliases: ["run_name"] }),
};

/** Of the optimizer, beside the learning rate: every training has them, by rewards too. */
export const OPTIMIZER_KEYS = {
  weightDecay: z.number().nonnegative().default(0).describe("Decoupled weight decay of AdamW"),
  beta1: z
    .number()
    .min(0)
    .lt(1)
    .default(0.9)
    .describe("AdamW: memory of the gradient")
    .meta({ aliases: ["adam_beta1"] }),
  beta2: z
    .number()
    .min(0)
    .lt(1)
    .default(0.999)
    .describe("AdamW: memory of its square")
    .meta({ aliases: ["adam_beta2"] }),
  eps: z
    .number()
    .positive()
    .default(1e-8)
    .describe("AdamW: added to the root")
    .meta({ aliases: ["adam_epsilon"] }),
  gradClipNorm: z
    .number()
    .nonnegative()
    .default(1)
    .describe("Largest global norm of the gradient; 0 does not clip")
    .meta({ aliases: ["max_grad_norm"] }),
};

/** How it is trained. */
export const LOOP_KEYS = {
  epochs: z
    .number()
    .positive()
    .default(3)
    .describe("Passes over the data; a fraction stops within one")
    .meta({ aliases: ["num_train_epochs", "num_epochs"] }),
  maxSteps: positive.optional().describe("Steps at most, whatever epochs says"),
  batchSize: positive
    .default(8)
    .describe("Rows per step")
    .meta({ aliases: ["per_device_train_batch_size", "train_batch_size"] }),
  microBatchTokens: positive
    .default(4096)
    .describe("Tokens computed at once; less needs less memory and changes no gradient")
    .meta({ aliases: ["gradient_accumulation_steps", "micro_batch_size"] }),
  learningRate: z
    .number()
    .positive()
    .optional()
    .describe("Peak learning rate; 2e-5, with LoRA 2e-4")
    .meta({ aliases: ["lr"] }),
  schedule: z
    .enum(SCHEDULES)
    .default("linear")
    .describe("How the rate falls after warmup")
    .meta({ aliases: ["lr_scheduler_type", "lr_scheduler"] }),
  warmupSteps: count.default(0).describe("Steps in which the rate rises from 0"),
  warmupFraction: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe("The same as a share of all steps")
    .meta({ aliases: ["warmup_ratio"] }),
  ...OPTIMIZER_KEYS,
  seed: count.max(0xffffffff).default(42).describe("Of the order of rows, the split and fresh weights"),
  evalEvery: count
    .default(100)
    .describe("Steps between validations; 0: only at checkpoints and the end")
    .meta({ aliases: ["eval_steps"] }),
  saveEvery: count
    .default(100)
    .describe("Steps between checkpoints; 0: only at the end")
    .meta({ aliases: ["save_steps"] }),
  keepCheckpoints: count
    .default(1)
    .describe("Checkpoints kept for the best validation loss, beside the last")
    .meta({ aliases: ["save_total_limit"] }),
  lora: Lora.optional()
    .describe("Trains a LoRA adapter instead of all weights; `lora: {}` takes its defaults")
    .meta({
      aliases: ["use_peft", "adapter", "peft"],
    }),
  quantise: z
    .union([z.literal("none"), Quantise])
    .default("none")
    .describe("Keeps the base model in 4 bits (QLoRA); needs lora")
    .meta({ aliases: ["load_in_4bit", "quantize", "quantization"] }),
  gradientCheckpointing: z
    .boolean()
    .default(false)
    .describe("Computes activations twice to keep fewer: less memory, about a third more time"),
  threads: positive.optional().describe("CPU threads; one per physical core"),
};

/** The same of the data, whatever its rows are. */
export const SPLIT_KEYS = {
  train: name
    .describe("JSON Lines file to train on")
    .meta({ aliases: ["dataset", "dataset_name", "train_file"] }),
  validation: name
    .optional()
    .describe("JSON Lines file to validate on")
    .meta({ aliases: ["eval", "eval_dataset", "test"] }),
  validationFraction: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe("Share of the training rows set apart for validation, whole prompts at a time")
    .meta({ aliases: ["val_set_size", "eval_split"] }),
};

const Common = z.object({ ...MODEL_KEYS, data: z.object(SPLIT_KEYS), ...LOOP_KEYS });
type Common = z.output<typeof Common>;

/** A key that another one forbids, and why. */
export interface Contradiction {
  readonly path: readonly string[];
  readonly sentence: string;
}

/** What contradicts itself in the keys that all methods share. */
export function commonContradictions({
  data,
  lora,
  quantise,
  warmupSteps,
  warmupFraction,
}: Pick<Common, "data" | "lora" | "quantise" | "warmupSteps" | "warmupFraction">): Contradiction[] {
  const found: Contradiction[] = [];
  const refuse = (path: readonly string[], sentence: string): void => void found.push({ path, sentence });
  if (quantise !== "none" && lora === undefined) {
    refuse(
      ["quantise"],
      "quantise is set without lora, expected both: 4-bit weights cannot be trained. Add lora: {}",
    );
  }
  if (warmupSteps > 0 && warmupFraction > 0) {
    refuse(["warmupFraction"], "warmupSteps and warmupFraction are both set, expected one of them");
  }
  if (data.validation !== undefined && data.validationFraction > 0) {
    refuse(
      ["data", "validationFraction"],
      "data.validation and data.validationFraction are both set, expected one of them",
    );
  }
  return found;
}

/** Reports each contradiction where the key stands. */
export function refuseContradictions(found: readonly Contradiction[], context: z.RefinementCtx): void {
  for (const { path, sentence } of found) {
    context.addIssue({ code: "custom", path: [...path], message: sentence });
  }
}
