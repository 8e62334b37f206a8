/** The configuration of supervised fine-tuning. Defaults are TRL's `SFTConfig` unless a line says otherwise. */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import type { ColumnMapping } from "../datasets/index.js";
import { loadConfig } from "./load-config.js";
import { SCHEDULES } from "./schedule.js";

const positive = z.int().positive();
const count = z.int().nonnegative();
const name = z.string().min(1);

const Columns = z.strictObject({
  prompt: name.optional().describe("Column that holds the prompt"),
  completion: name.optional().describe("Column that holds the completion"),
  text: name.optional().describe("Column that holds plain text"),
  messages: name.optional().describe("Column that holds the conversation"),
  tools: name.optional().describe("Column that holds the tools of a conversation"),
});

const Data = z.strictObject({
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
  columns: Columns.optional().describe("Names of the columns, where the file calls them otherwise"),
  promptTemplate: z
    .string()
    .optional()
    .describe("Prompt made of columns: `Question: {question}`; {{ is a brace"),
  completionTemplate: z.string().optional().describe("Completion made of columns"),
  textTemplate: z.string().optional().describe("Text made of columns"),
  asChat: z
    .boolean()
    .default(false)
    .describe(
      "Makes prompt and completion a user's and an assistant's message, for the model's chat template",
    ),
  system: z.string().optional().describe("System message before the user's; needs asChat"),
  maxRows: positive.optional().describe("Reads no further than this many rows of each file"),
  addBos: z
    .union([z.boolean(), z.literal("auto")])
    .default("auto")
    .describe("A BOS before prompts and texts; auto does as the tokenizer does"),
  addEos: z.boolean().default(true).describe("An EOS, trained on, after completions and texts that lack one"),
  allowNoEos: z.boolean().default(false).describe("Takes data in which no end of text or turn is trained on"),
  maxUnsupervisedFraction: z
    .number()
    .min(0)
    .max(1)
    .default(0.05)
    .describe("Refuses data with a larger share of rows that have no token to train on"),
});

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

const Fields = z.strictObject({
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
  data: Data.describe("What to train on"),
  trainOn: z
    .enum(["auto", "completions", "assistant", "all"])
    .default("auto")
    .describe("Tokens with a loss; auto: completions, the assistant's turns of messages, all of text")
    .meta({ aliases: ["completion_only_loss", "assistant_only_loss", "train_on_inputs"] }),
  maxLength: z
    .int()
    .min(2)
    .default(1024)
    .describe("Tokens of a row at most")
    .meta({
      aliases: ["max_seq_length", "sequence_len"],
    }),
  truncation: z
    .enum(["keep_start", "keep_end", "refuse"])
    .default("keep_start")
    .describe("What becomes of longer rows")
    .meta({ aliases: ["truncation_mode"] }),
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
});

type Fields = z.output<typeof Fields>;

/** Configuration as given → as resolved, every default filled in. Unknown keys and contradictions are refused. */
export const SftConfig = Fields.superRefine((config, context) => {
  for (const { path, sentence } of contradictions(config)) {
    context.addIssue({ code: "custom", path: [...path], message: sentence });
  }
}).transform((config) => ({
  ...config,
  // Full: TRL's default. LoRA: ten times as much, as "LoRA Without Regret" (Schulman 2025) finds across models.
  learningRate: config.learningRate ?? (config.lora === undefined ? 2e-5 : 2e-4),
}));
export type SftConfig = z.output<typeof SftConfig>;

/** Reads a configuration; its paths are taken from the file's own directory and made absolute. */
export function loadSftConfig(path: string): SftConfig {
  return withAbsolutePaths(loadConfig(path, SftConfig), dirname(resolve(path)));
}

/** `config` with `model`, `output` and the data files taken from `directory`. */
export function withAbsolutePaths(config: SftConfig, directory: string): SftConfig {
  const { data } = config;
  return {
    ...config,
    model: resolve(directory, config.model),
    output: resolve(directory, config.output),
    data: {
      ...data,
      train: resolve(directory, data.train),
      ...(data.validation === undefined ? {} : { validation: resolve(directory, data.validation) }),
    },
  };
}

/** The part of a configuration that says how the file's columns are read. */
export function columnMappingOf({ data }: SftConfig): ColumnMapping {
  const { columns, promptTemplate, completionTemplate, textTemplate, asChat, system } = data;
  return defined({
    columns: columns && defined(columns),
    promptTemplate,
    completionTemplate,
    textTemplate,
    asChat,
    system,
  });
}

/** Without the keys whose value is undefined. */
function defined<T extends object>(record: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  // Object.fromEntries forgets which keys it was given.
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

interface Contradiction {
  readonly path: readonly string[];
  readonly sentence: string;
}

function contradictions({ data, lora, quantise, warmupSteps, warmupFraction }: Fields): Contradiction[] {
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
  for (const field of ["prompt", "completion", "text"] as const) {
    if (data.columns?.[field] !== undefined && data[`${field}Template`] !== undefined) {
      refuse(
        ["data", `${field}Template`],
        `data.columns.${field} and data.${field}Template are both set, expected one of them; a template names its columns itself`,
      );
    }
  }
  const isText = data.columns?.text !== undefined || data.textTemplate !== undefined;
  const isPrompt = [
    data.columns?.prompt,
    data.columns?.completion,
    data.promptTemplate,
    data.completionTemplate,
  ];
  if (isText && isPrompt.some((one) => one !== undefined)) {
    refuse(["data"], "data maps columns to both text and prompt or completion, expected one kind of row");
  }
  if (data.system !== undefined && !data.asChat) {
    refuse(["data", "system"], "data.system is set without data.asChat, expected asChat: true");
  }
  return found;
}
