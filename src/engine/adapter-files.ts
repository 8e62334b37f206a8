/** LoRA adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`. */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { messageOf, UserError } from "../base/index.js";
import {
  type LoraConfig,
  type ModelConfig,
  type Parameter,
  PROJECTIONS,
  resolveTargets,
  SCORE,
  trainableParameters,
} from "../nn/index.js";
import { openSafetensors, sizeOf, writeFileAside, writeSafetensors } from "../tensor/index.js";

const CONFIG = "adapter_config.json";
export const ADAPTER_TENSORS = "adapter_model.safetensors";
/** PEFT names tensors by their place in its wrapper around the model. */
export const ADAPTER_PREFIX = "base_model.model.";
/** What PEFT saves in full beside the matrices when the task is sequence classification. */
const SCORE_MODULES = ["classifier", "score"];

const AdapterConfig = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.int().positive(),
  lora_alpha: z.number().positive(),
  use_rslora: z.boolean().default(false),
  use_dora: z.literal(false).default(false),
  bias: z.literal("none").default("none"),
  fan_in_fan_out: z.literal(false).default(false),
  modules_to_save: z.array(z.string()).nullish(),
  target_modules: z.union([z.string(), z.array(z.string())]),
  rank_pattern: z.record(z.string(), z.unknown()).default({}),
  alpha_pattern: z.record(z.string(), z.unknown()).default({}),
});

export interface Adapter {
  readonly lora: LoraConfig;
  /** By the names of `trainableParameters`. */
  readonly tensors: ReadonlyMap<string, Float32Array>;
}

export function isAdapterFolder(folder: string): boolean {
  return existsSync(join(folder, CONFIG));
}

/** @throws UserError when the adapter is of another kind, does not fit the model, or lacks tensors */
export function readAdapter(folder: string, config: ModelConfig): Adapter {
  const path = join(folder, CONFIG);
  const refuse = (what: string): UserError => new UserError(`Cannot load adapter "${folder}": ${what}`);
  if (!existsSync(path)) throw refuse(`it has no ${CONFIG}, expected a PEFT folder`);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (thrown) {
    throw refuse(`${CONFIG} is no JSON (${messageOf(thrown)})`);
  }
  const parsed = AdapterConfig.safeParse(json);
  if (!parsed.success) {
    const { path: field, message } = parsed.error.issues[0]!;
    throw refuse(`${CONFIG} field "${field.join(".")}": ${message}, expected a plain LoRA adapter`);
  }
  const raw = parsed.data;
  const isReward = config.head === "score";
  const saved = raw.modules_to_save?.find((name) => !(isReward && SCORE_MODULES.includes(name)));
  if (saved !== undefined)
    throw refuse(
      `${CONFIG} field "modules_to_save": it holds "${saved}", expected ${isReward ? `none but ${SCORE_MODULES.join(", ")}` : "a plain LoRA adapter"}`,
    );
  if (Object.keys({ ...raw.rank_pattern, ...raw.alpha_pattern }).length > 0) {
    throw refuse(`${CONFIG} has rank_pattern or alpha_pattern, expected one rank and alpha for all modules`);
  }
  const file = openSafetensors(join(folder, ADAPTER_TENSORS));
  try {
    const names = [...file.tensors.keys()];
    const isOfAdapter = (name: string): boolean =>
      name.startsWith(ADAPTER_PREFIX) &&
      (/\.lora_[AB]\.weight$/.test(name) || (isReward && name === ADAPTER_PREFIX + SCORE));
    const foreign = names.find((name) => !isOfAdapter(name));
    if (foreign !== undefined)
      throw refuse(
        `tensor "${foreign}" is no LoRA matrix, expected names like "${ADAPTER_PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight"`,
      );
    // The tensors say where the adapter sits: PEFT's own list may hold full paths, suffixes or a regular expression.
    const targets = resolveTargets(
      PROJECTIONS.filter((projection) => names.some((name) => name.includes(`.${projection}.lora_`))),
      folder,
    );
    const lora: LoraConfig = { rank: raw.r, alpha: raw.lora_alpha, rsLora: raw.use_rslora, targets };
    // A reward model's own score holds where the adapter brings none.
    const parameters = trainableParameters(config, lora).filter(
      ({ name }) => name !== SCORE || names.includes(ADAPTER_PREFIX + SCORE),
    );
    const tensors = new Map(
      parameters.map(({ name, shape }) => {
        const entry = file.tensors.get(ADAPTER_PREFIX + name);
        if (entry === undefined)
          throw refuse(
            `tensor "${ADAPTER_PREFIX}${name}" is missing, expected every layer to carry ${targets.join(", ")}`,
          );
        if (entry.shape.join() !== shape.join()) {
          throw refuse(
            `tensor "${ADAPTER_PREFIX}${name}" has shape [${entry.shape.join(", ")}], expected [${shape.join(", ")}] for rank ${raw.r} on this model`,
          );
        }
        const values = new Float32Array(sizeOf(shape));
        file.readInto(ADAPTER_PREFIX + name, values, { rejectNonFinite: true });
        return [name, values];
      }),
    );
    if (tensors.size !== names.length) {
      throw refuse(`it has ${names.length} tensors, expected ${tensors.size} for ${config.layers} layers`);
    }
    return { lora, tensors };
  } finally {
    file.close();
  }
}

/** Writes what PEFT's `PeftModel.from_pretrained` loads. `baseModel` is recorded for people, not read back. */
export function writeAdapter(
  folder: string,
  {
    lora,
    parameters,
    values,
    baseModel,
  }: {
    readonly lora: LoraConfig;
    readonly parameters: readonly Parameter[];
    readonly values: (name: string) => Float32Array;
    readonly baseModel: string | null;
  },
): void {
  mkdirSync(folder, { recursive: true });
  writeSafetensors(
    join(folder, ADAPTER_TENSORS),
    parameters.map(({ name, shape }) => ({
      name: ADAPTER_PREFIX + name,
      dtype: "F32" as const,
      shape,
      read: () => values(name),
    })),
    { format: "pt" },
  );
  const config = {
    peft_type: "LORA",
    ...(parameters.some(({ name }) => name === SCORE)
      ? { task_type: "SEQ_CLS", modules_to_save: SCORE_MODULES }
      : { task_type: "CAUSAL_LM" }),
    base_model_name_or_path: baseModel,
    r: lora.rank,
    lora_alpha: lora.alpha,
    lora_dropout: 0,
    use_rslora: lora.rsLora,
    use_dora: false,
    bias: "none",
    fan_in_fan_out: false,
    init_lora_weights: true,
    inference_mode: true,
    target_modules: lora.targets.map((projection) => projection.split(".")[1]),
  };
  writeFileAside(join(folder, CONFIG), (sink) =>
    sink.write(Buffer.from(`${JSON.stringify(config, null, 2)}\n`)),
  );
}
