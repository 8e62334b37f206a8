/** The angles of rotary position embeddings, and the ways in which configs stretch them to longer contexts. */
import { z } from "zod";
import type { UserError } from "../base/index.js";

interface RopeBase {
  readonly theta: number;
  readonly headWidth: number;
  /** Longest position the model was configured for. */
  readonly maxPositions: number;
}

export type RopeConfig = RopeBase &
  (
    | { readonly type: "default" }
    | { readonly type: "linear"; readonly factor: number }
    | { readonly type: "dynamic"; readonly factor: number }
    | {
        readonly type: "llama3";
        readonly factor: number;
        readonly lowFrequencyFactor: number;
        readonly highFrequencyFactor: number;
        readonly originalPositions: number;
      }
    | {
        readonly type: "yarn";
        readonly factor: number;
        readonly originalPositions: number;
        readonly betaFast: number;
        readonly betaSlow: number;
        readonly attentionFactor: number;
        readonly truncate: boolean;
      }
  );

const RawRope = z.looseObject({
  rope_theta: z.number().positive().nullish(),
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  factor: z.number().positive().nullish(),
  low_freq_factor: z.number().positive().nullish(),
  high_freq_factor: z.number().positive().nullish(),
  original_max_position_embeddings: z.number().positive().nullish(),
  beta_fast: z.number().positive().nullish(),
  beta_slow: z.number().positive().nullish(),
  attention_factor: z.number().positive().nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  truncate: z.boolean().nullish(),
  partial_rotary_factor: z.number().nullish(),
});

/** Reads `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling` (older files). */
export function parseRope(
  raw: Readonly<Record<string, unknown>>,
  { headWidth, maxPositions }: Pick<RopeBase, "headWidth" | "maxPositions">,
  refuse: (what: string) => UserError,
): RopeConfig {
  const field =
    raw["rope_parameters"] !== undefined && raw["rope_parameters"] !== null
      ? "rope_parameters"
      : "rope_scaling";
  const parsed = RawRope.safeParse(raw[field] ?? {});
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw refuse(`field "${[field, ...path].join(".")}": ${message}`);
  }
  const given = parsed.data;
  const partial = given.partial_rotary_factor ?? raw["partial_rotary_factor"] ?? 1;
  if (partial !== 1) throw refuse(`partial_rotary_factor is ${partial}, expected 1`);
  const theta = z
    .number()
    .positive()
    .safeParse(given.rope_theta ?? raw["rope_theta"] ?? 10_000);
  if (!theta.success) throw refuse(`rope_theta is ${String(raw["rope_theta"])}, expected a positive number`);
  const base: RopeBase = { theta: theta.data, headWidth, maxPositions };
  const type = given.rope_type ?? given.type ?? "default";
  const needed = (key: "factor" | "low_freq_factor" | "high_freq_factor"): number => {
    const value = given[key];
    if (typeof value !== "number") {
      throw refuse(`${field}.${key} is missing, expected a number for rope type "${type}"`);
    }
    return value;
  };
  const originalPositions =
    given.original_max_position_embeddings ??
    z.number().safeParse(raw["original_max_position_embeddings"]).data ??
    maxPositions;
  switch (type) {
    case "default":
      return { ...base, type };
    case "linear":
    case "dynamic":
      return { ...base, type, factor: needed("factor") };
    case "llama3":
      return {
        ...base,
        type,
        factor: needed("factor"),
        lowFrequencyFactor: needed("low_freq_factor"),
        highFrequencyFactor: needed("high_freq_factor"),
        originalPositions,
      };
    case "yarn": {
      const factor = given.factor ?? maxPositions / originalPositions;
      return {
        ...base,
        type,
        factor,
        originalPositions,
        betaFast: given.beta_fast ?? 32,
        betaSlow: given.beta_slow ?? 1,
        attentionFactor:
          given.attention_factor ?? yarnAttentionFactor(factor, given.mscale, given.mscale_all_dim),
        truncate: given.truncate ?? true,
      };
    }
    default:
      throw refuse(`rope type is "${type}", expected default, linear, dynamic, llama3 or yarn`);
  }
}

/** Peng et al., arXiv:2309.00071, section 3.4, with DeepSeek's two scales where a config has both. */
function yarnAttentionFactor(
  factor: number,
  mscale: number | null | undefined,
  mscaleAll: number | null | undefined,
): number {
  const scaled = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  return mscale && mscaleAll ? scaled(mscale) / scaled(mscaleAll) : scaled(1);
}

/**
 * Angle per position of each of the K/2 pairs, in radians.
 * `sequenceLength` matters to `dynamic` alone, which stretches only what is longer than the model's context.
 */
export function inverseFrequencies(config: RopeConfig, sequenceLength: number): Float64Array {
  const { theta, headWidth } = config;
  const plain = (base: number): Float64Array =>
    Float64Array.from({ length: headWidth / 2 }, (_, i) => base ** ((-2 * i) / headWidth));
  switch (config.type) {
    case "default":
      return plain(theta);
    case "linear":
      return plain(theta).map((frequency) => frequency / config.factor);
    case "dynamic": {
      // NTK-aware scaling: the base grows so that the slowest pair covers the longer context.
      const length = Math.max(sequenceLength, config.maxPositions);
      const stretch = (config.factor * length) / config.maxPositions - (config.factor - 1);
      return plain(theta * stretch ** (headWidth / (headWidth - 2)));
    }
    case "llama3": {
      const { factor, lowFrequencyFactor, highFrequencyFactor, originalPositions } = config;
      return plain(theta).map((frequency) => {
        const turns = (originalPositions * frequency) / (2 * Math.PI);
        if (turns < lowFrequencyFactor) return frequency / factor;
        if (turns > highFrequencyFactor) return frequency;
        const smooth = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
        return (1 - smooth) * (frequency / factor) + smooth * frequency;
      });
    }
    case "yarn": {
      const { factor, betaFast, betaSlow, originalPositions, truncate } = config;
      const pairOf = (turns: number): number =>
        (headWidth * Math.log(originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
      const low = Math.max(truncate ? Math.floor(pairOf(betaFast)) : pairOf(betaFast), 0);
      let high = Math.min(truncate ? Math.ceil(pairOf(betaSlow)) : pairOf(betaSlow), headWidth - 1);
      if (low === high) high += 0.001; // as the reference does, against a division by zero
      return plain(theta).map((frequency, i) => {
        const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
        return (frequency / factor) * ramp + frequency * (1 - ramp);
      });
    }
  }
}

/** Whether a position has the same angles in sequences of both lengths. */
export function haveSameAngles(config: RopeConfig, length: number, other: number): boolean {
  return length === other || !(isStretched(config, length) || isStretched(config, other));
}

/** Only `dynamic` scaling depends on the length, and only beyond the model's context. */
function isStretched({ type, maxPositions }: RopeConfig, length: number): boolean {
  return type === "dynamic" && length > maxPositions;
}

export interface RopeTables {
  /** [P, K/2]. */
  readonly cos: Float32Array;
  readonly sin: Float32Array;
  readonly rows: number;
  /** For each sequence, the row that holds its position 0. */
  readonly firstRows: readonly number[];
}

/**
 * Cosines and sines for sequences of the given lengths. Sequences share rows, except where `dynamic` scaling gives
 * sequences beyond the model's context angles of their own: a sequence means the same in every batch.
 */
export function ropeTables(config: RopeConfig, sequenceLengths: readonly number[]): RopeTables {
  const half = config.headWidth / 2;
  const common = Math.max(1, ...sequenceLengths.filter((length) => !isStretched(config, length)));
  const stretched = [...new Set(sequenceLengths.filter((length) => isStretched(config, length)))];
  const firstRow = new Map<number, number>();
  let rows = common;
  for (const length of stretched) {
    firstRow.set(length, rows);
    rows += length;
  }
  const cos = new Float32Array(rows * half);
  const sin = new Float32Array(rows * half);
  const factor = config.type === "yarn" ? config.attentionFactor : 1;
  const fill = (from: number, length: number): void => {
    // The reference rounds frequencies and angles to float32; following it keeps long contexts equal to its digits.
    const frequencies = Float32Array.from(inverseFrequencies(config, length));
    for (let position = 0; position < length; position++) {
      for (let i = 0; i < half; i++) {
        const angle = Math.fround(position * frequencies[i]!);
        cos[(from + position) * half + i] = Math.cos(angle) * factor;
        sin[(from + position) * half + i] = Math.sin(angle) * factor;
      }
    }
  };
  fill(0, common);
  for (const [length, from] of firstRow) fill(from, length);
  return { cos, sin, rows, firstRows: sequenceLengths.map((length) => firstRow.get(length) ?? 0) };
}
