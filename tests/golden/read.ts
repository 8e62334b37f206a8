/**
 * Reads the numbers that torch, transformers, PEFT and TRL gave (tools/golden/ makes them, its README explains them).
 * Uses nothing of src/, so that a wrong reader there cannot hide a wrong number here.
 *
 * All values were computed in float64 and rounded to float32, except the AdamW parameters and the SFT losses,
 * which are torch's float32 results. Flat arrays are row-major.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = import.meta.dirname;

/** Architectures and rope scalings, one folder each in models/. */
export const MODEL_NAMES = [
  "llama",
  "llama-tied",
  "llama-rope-llama3",
  "mistral",
  "qwen2",
  "qwen2-untied",
  "qwen2-rope-yarn",
  "qwen3",
  "deepseek-coder-linear",
  "deepseek-coder-dynamic",
] as const;
export type ModelName = (typeof MODEL_NAMES)[number];

/** Adapters, one folder each in lora/. */
export const ADAPTER_NAMES = [
  "llama-all-linear",
  "llama-qv-rslora",
  "qwen2-all-linear",
  "qwen3-all-linear",
] as const;
export type AdapterName = (typeof ADAPTER_NAMES)[number];

/** Runs of TRL's SFTTrainer, one file each in sft/. */
export const SFT_NAMES = ["full", "full-accumulation", "lora"] as const;
export type SftName = (typeof SFT_NAMES)[number];

/** A tensor of a safetensors file. */
export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A tensor in a few numbers: `summaryOf` makes one from yours. */
export interface TensorSummary {
  readonly shape: readonly number[];
  /** Square root of the sum of squares. */
  readonly norm: number;
  /** Sum over i of x[i] cos(i). */
  readonly projection: number;
  /** Elements (2i + 1) size // 8 for i = 0 to 3. */
  readonly values: readonly number[];
}

export interface GoldenSequence {
  readonly tokens: readonly number[];
  /** One per predicted token: `weights[i]` and `logprobs[i]` belong to predicting `tokens[i + 1]`. */
  readonly weights: readonly number[];
  readonly logprobs: readonly number[];
  /** Full rows of logits at some positions; `values[j][v]` is token v's logit at `positions[j]`. */
  readonly logits: { readonly positions: readonly number[]; readonly values: readonly (readonly number[])[] };
  /** The rotary table for this sequence; a dynamic one depends on its length. `scale` multiplies cosine and sine. */
  readonly rotary: { readonly inverseFrequencies: readonly number[]; readonly scale: number };
}

export interface GoldenBatch {
  readonly sequences: readonly GoldenSequence[];
  /** Plain sum of -weight · logprob over all sequences. */
  readonly loss: number;
  /** Of `loss`, per trained parameter, by the name it has in the safetensors file. */
  readonly gradients: Readonly<Record<string, TensorSummary>>;
}

/** Largest distance of a plain float32 run of transformers from the stored values: absolute, gradients relative to their norm. */
export interface Float32Gap {
  readonly logits: number;
  readonly logprobs: number;
  readonly loss: number;
  readonly gradients: number;
}

export interface GoldenModel {
  /** Has config.json (as transformers 5 writes it), config.hub.json (older spelling, same model), model.safetensors. */
  readonly folder: string;
  readonly float32Gap: Float32Gap;
  readonly batches: readonly GoldenBatch[];
  /** The same weights and tokens under config.NAME.json; no gradients. */
  readonly variants: Readonly<Record<string, readonly Omit<GoldenBatch, "gradients">[]>>;
  /** Every element of batch 0's gradients; for some models only. */
  readonly fullGradients: ReadonlyMap<string, GoldenTensor> | undefined;
}

export interface GoldenAdapter {
  /** Has adapter_config.json and adapter_model.safetensors as PEFT writes them. */
  readonly folder: string;
  readonly base: ModelName;
  /** What multiplies B A x. */
  readonly scaling: number;
  readonly float32Gap: Float32Gap;
  readonly batches: readonly GoldenBatch[];
  readonly fullGradients: ReadonlyMap<string, GoldenTensor> | undefined;
}

export interface GoldenAdamWRun {
  readonly options: {
    readonly schedule: string;
    readonly learningRate: number;
    readonly beta1: number;
    readonly beta2: number;
    readonly eps: number;
    readonly weightDecay: number;
    readonly gradClipNorm: number;
  };
  readonly learningRates: readonly number[];
  /** Before clipping. */
  readonly gradNorms: readonly number[];
  /** By number of finished steps ("1", "2", "10", "20"), then by tensor. */
  readonly parametersAfter: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
  readonly float32Gap: number;
}

export interface GoldenAdamW {
  readonly steps: number;
  readonly warmupSteps: number;
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly initial: Readonly<Record<string, readonly number[]>>;
  /** Per step, before clipping. */
  readonly gradients: readonly Readonly<Record<string, readonly number[]>>[];
  readonly runs: Readonly<Record<"linear" | "cosine", GoldenAdamWRun>>;
  /** Factor of the learning rate per step, entry 0 for the first step. Names ending in -warmup use `warmupSteps`. */
  readonly schedules: Readonly<Record<string, readonly number[]>>;
}

export interface GoldenLosses {
  readonly trainingLogprobs: readonly number[];
  readonly samplingLogprobs: readonly number[];
  readonly advantages: readonly number[];
  /** Used by cross_entropy alone. */
  readonly weights: readonly number[];
  readonly cases: readonly {
    readonly lossFn: "cross_entropy" | "importance_sampling" | "ppo" | "cispo" | "dro";
    readonly config: Readonly<Record<string, number>>;
    readonly loss: number;
    /** Of `loss` with respect to `trainingLogprobs`. */
    readonly gradient: readonly number[];
  }[];
}

/** The rows of sft/rows.jsonl as TRL tokenises them: prompt, completion, eos, cut to `maxLength`; the loss is on the rest after `promptLength`. */
export interface GoldenSftRows {
  readonly maxLength: number;
  readonly rows: readonly { readonly tokens: readonly number[]; readonly promptLength: number }[];
}

export interface GoldenSftRun {
  readonly options: {
    readonly steps: number;
    readonly learningRate: number;
    readonly schedule: "linear" | "cosine";
    readonly warmupSteps: number;
    readonly beta1: number;
    readonly beta2: number;
    readonly eps: number;
    readonly weightDecay: number;
    readonly gradClipNorm: number;
    readonly rowsPerBatch: number;
    readonly accumulation: number;
    readonly maxLength: number;
  };
  /** PEFT folder with the adapter before step 1, or undefined for full fine-tuning. */
  readonly adapterFolder: string | undefined;
  /** Row numbers: step, micro-batch, row. */
  readonly rows: readonly (readonly (readonly number[])[])[];
  /** Per step: what the sum of -logprob over all micro-batches is divided by. */
  readonly supervisedTokens: readonly number[];
  readonly losses: readonly number[];
  /** Before clipping. */
  readonly gradNorms: readonly number[];
  readonly learningRates: readonly number[];
  readonly meanTokenAccuracy: readonly number[];
  readonly entropy: readonly number[];
  /** Largest distance of TRL's losses from a float64 loop over the same rows. */
  readonly float64Gap: number;
  readonly finalParameters: Readonly<Record<string, TensorSummary>>;
}

/** Base model and tokenizer of every SFT run, in Hugging Face layout. */
export const SFT_MODEL_FOLDER = join(root, "sft", "model");
/** The rows of every SFT run, as `{"prompt", "completion"}`. */
export const SFT_ROWS_FILE = join(root, "sft", "rows.jsonl");

/** What TRL's config calls things; `loss_type` is also "rloo", for its other trainer. */
export interface TrlOptions {
  readonly loss_type: "grpo" | "bnpo" | "dr_grpo" | "dapo" | "cispo" | "rloo";
  readonly importance_sampling_level: "token" | "sequence";
  readonly epsilon: number;
  readonly epsilon_high: number | null;
  readonly delta: number | null;
  readonly beta: number;
  readonly use_bias_correction_kl: boolean;
  readonly entropy_coef: number;
  readonly scale_rewards: "group" | "batch" | "none";
  readonly multi_objective_aggregation: "sum_then_normalize" | "normalize_then_sum";
  readonly vllm_importance_sampling_correction: boolean;
  readonly vllm_importance_sampling_mode:
    | "token_truncate"
    | "token_mask"
    | "sequence_truncate"
    | "sequence_mask";
  readonly vllm_importance_sampling_clip_max: number | null;
  readonly vllm_importance_sampling_clip_min: number | null;
  readonly mask_truncated_completions: boolean;
  readonly max_completion_length: number;
  readonly steps_per_generation: number;
  readonly normalize_advantages: boolean;
  readonly temperature: number;
}

type Rows = readonly (readonly number[])[];

/** Completions padded to one length, `prompts` times `group` rows of them; masks are 1 where a token counts. */
export interface TrlData {
  readonly completion_mask: Rows;
  readonly tool_mask: Rows;
  /** Logprobs under the policy being trained, its old self, the sampler and the reference. */
  readonly current: Rows;
  readonly old: Rows;
  readonly sampling: Rows;
  readonly reference: Rows;
  readonly entropies: Rows;
  /** Row, reward function. */
  readonly rewards: Rows;
  readonly reward_weights: readonly number[];
  readonly is_truncated: readonly number[];
}

interface TrlFile<Case> {
  readonly prompts: number;
  readonly group: number;
  readonly data: TrlData;
  readonly cases: readonly (Case & { readonly name: string; readonly options: TrlOptions })[];
}

/** Losses of fixed logprobs. */
export type GoldenTrlLosses = TrlFile<{
  readonly advantages: readonly number[];
  readonly steps: readonly { readonly loss: number; readonly gradient: Rows; readonly entropyGradient: Rows }[];
  readonly metrics: Readonly<Record<string, number>>;
}>;

/** Losses of what a model makes of `ids`, prompts of 5 tokens and the completions. */
export interface GoldenTrlModel
  extends TrlFile<{
    readonly old: Rows;
    readonly reference: Rows;
    readonly loss: number;
    readonly gradients: Readonly<Record<string, TensorSummary>>;
    readonly metrics: Readonly<Record<string, number>>;
  }> {
  readonly model: ModelName;
  readonly ids: Rows;
}

export function readGoldenTrlLosses(): GoldenTrlLosses {
  return readJson(join(root, "trl", "losses.json"));
}

export function readGoldenTrlModel(): GoldenTrlModel {
  return readJson(join(root, "trl", "model.json"));
}

export function readGoldenModel(name: ModelName): GoldenModel {
  const folder = join(root, "models", name);
  const stored = readJson<Omit<GoldenModel, "folder" | "fullGradients">>(join(folder, "golden.json"));
  return { ...stored, folder, fullGradients: fullGradientsOf(folder) };
}

export function readGoldenAdapter(name: AdapterName): GoldenAdapter {
  const folder = join(root, "lora", name);
  const stored = readJson<Omit<GoldenAdapter, "folder" | "fullGradients">>(join(folder, "golden.json"));
  return { ...stored, folder, fullGradients: fullGradientsOf(folder) };
}

export function readGoldenAdamW(): GoldenAdamW {
  return readJson<GoldenAdamW>(join(root, "adamw.json"));
}

export function readGoldenLosses(): GoldenLosses {
  return readJson<GoldenLosses>(join(root, "losses.json"));
}

export function readGoldenSftRows(): GoldenSftRows {
  return readJson<GoldenSftRows>(join(root, "sft", "rows.tokens.json"));
}

export function readGoldenSftRun(name: SftName): GoldenSftRun {
  const { adapter, ...stored } = readJson<
    Omit<GoldenSftRun, "adapterFolder"> & { readonly adapter: string | null }
  >(join(root, "sft", `${name}.json`));
  return { ...stored, adapterFolder: adapter === null ? undefined : join(root, "sft", adapter) };
}

/** The summary of your tensor, to compare with a stored one: norm and projection to a relative, values to an absolute tolerance. */
export function summaryOf(shape: readonly number[], data: ArrayLike<number>): TensorSummary {
  let squares = 0;
  let projection = 0;
  for (let i = 0; i < data.length; i++) {
    squares += data[i]! ** 2;
    projection += data[i]! * Math.cos(i);
  }
  const values = [0, 1, 2, 3].map((i) => data[Math.floor(((2 * i + 1) * data.length) / 8)]!);
  return { shape, norm: Math.sqrt(squares), projection, values };
}

/** All tensors of a float32 safetensors file. For fixtures only: it trusts the file. */
export function readGoldenTensors(path: string): ReadonlyMap<string, GoldenTensor> {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  // The fixtures' own header, written by the safetensors library.
  const header = JSON.parse(file.toString("utf8", 8, start)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, GoldenTensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (dtype !== "F32") throw new Error(`Cannot read ${path}: ${name} is ${dtype}, expected F32`);
    const bytes = Uint8Array.from(file.subarray(start + data_offsets[0], start + data_offsets[1]));
    tensors.set(name, { shape, data: new Float32Array(bytes.buffer) });
  }
  return tensors;
}

function fullGradientsOf(folder: string): ReadonlyMap<string, GoldenTensor> | undefined {
  const path = join(folder, "grads.safetensors");
  return existsSync(path) ? readGoldenTensors(path) : undefined;
}

/** The types above describe what tools/golden writes; read.test.ts checks that the files agree with them. */
function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, "utf8")) as T;
}
