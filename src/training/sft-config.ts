/** The configuration of supervised fine-tuning. Defaults are TRL's `SFTConfig` unless a line says otherwise. */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import type { ColumnMapping } from "../datasets/index.js";
import { loadConfig } from "./load-config.js";
import {
  type Contradiction,
  commonContradictions,
  LOOP_KEYS,
  MODEL_KEYS,
  refuseContradictions,
  SPLIT_KEYS,
} from "./run-keys.js";

const positive = z.int().positive();
const name = z.string().min(1);

const Columns = z.strictObject({
  prompt: name.optional().describe("Column that holds the prompt"),
  completion: name.optional().describe("Column that holds the completion"),
  text: name.optional().describe("Column that holds plain text"),
  messages: name.optional().describe("Column that holds the conversation"),
  tools: name.optional().describe("Column that holds the tools of a conversation"),
});

const Data = z.strictObject({
  ...SPLIT_KEYS,
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

const Fields = z.strictObject({
  ...MODEL_KEYS,
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
  ...LOOP_KEYS,
});

type Fields = z.output<typeof Fields>;

/** Configuration as given → as resolved, every default filled in. Unknown keys and contradictions are refused. */
export const SftConfig = Fields.superRefine((config, context) => {
  refuseContradictions([...commonContradictions(config), ...contradictions(config)], context);
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

function contradictions({ data }: Fields): Contradiction[] {
  const found: Contradiction[] = [];
  const refuse = (path: readonly string[], sentence: string): void => void found.push({ path, sentence });
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
