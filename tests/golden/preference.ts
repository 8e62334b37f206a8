/** What tools/golden/trl-preference.py wrote: TRL's preference losses, 20 steps of DPOTrainer, and reward models. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ModelName, TensorSummary } from "./read.js";

const root = join(import.meta.dirname, "trl");
type Rows = readonly (readonly number[])[];

/** Column t of a row is about its token t + 1. Rows are the chosen sequences, then the rejected ones. */
export interface PreferenceData {
  readonly attention: Rows;
  readonly completion: Rows;
  readonly current: Rows;
  readonly reference: Rows;
  /** Of as many mismatched sequences with the same masks, which KTO's KL is estimated from. */
  readonly kl_current: Rows;
  readonly kl_reference: Rows;
  readonly scores: readonly number[];
  readonly margins: readonly number[];
}

export interface PreferenceCase {
  readonly name: string;
  readonly trainer: "dpo" | "cpo" | "orpo" | "kto" | "reward";
  /** As TRL names them: of the trainer at hand, what is not there is undefined. */
  readonly options: {
    readonly beta: number;
    readonly loss_types: readonly string[];
    readonly loss_weights: readonly number[];
    readonly loss_type: string;
    readonly label_smoothing: number;
    readonly simpo_gamma: number;
    readonly cpo_alpha: number;
    readonly desirable_weight: number;
    readonly undesirable_weight: number;
    readonly center_rewards_coefficient: number | null;
    readonly margins: boolean;
  };
  readonly loss: number;
  /** By row and column; of reward models by row. */
  readonly gradient: Rows;
  readonly metrics: Readonly<Record<string, number>>;
  /** KTO's, 1 for a desirable row. */
  readonly labels?: readonly number[];
}

export interface DpoRun {
  readonly name: "full" | "lora";
  readonly options: {
    readonly learningRate: number;
    readonly beta: number;
    readonly lossTypes: readonly string[];
  };
  readonly rows: readonly {
    readonly prompt: readonly number[];
    readonly chosen: readonly number[];
    readonly rejected: readonly number[];
  }[];
  /** Row numbers of each step. */
  readonly batches: Rows;
  readonly losses: readonly number[];
  /** Before clipping. */
  readonly gradNorms: readonly number[];
  /** By TRL's names, one number per step. */
  readonly metrics: Readonly<Record<string, readonly number[]>>;
  readonly finalParameters: Readonly<Record<string, TensorSummary>>;
}

export interface GoldenRewardModel {
  readonly model: ModelName;
  readonly score: readonly number[];
  /** Chosen, chosen, rejected, rejected. */
  readonly sequences: Rows;
  readonly margins: readonly number[];
  readonly centerRewardsCoefficient: number;
  readonly logits: readonly number[];
  readonly loss: number;
  readonly gradients: Readonly<Record<string, TensorSummary>>;
}

export function readPreferenceCases(): {
  readonly pairs: number;
  readonly data: PreferenceData;
  readonly cases: readonly PreferenceCase[];
} {
  return readJson("preference.json");
}

export function readPreferenceModels(): {
  readonly rewardModels: readonly GoldenRewardModel[];
  readonly dpo: readonly DpoRun[];
} {
  return readJson("preference-models.json");
}

/** The types above describe what the script writes. */
function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(join(root, name), "utf8")) as T;
}
