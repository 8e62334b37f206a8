/** Named sizes of fresh models. `tiny` and `small` are those the benchmarks train. */

export interface ModelSize {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly ffn: number;
}

export const MODEL_SIZES = {
  tiny: { hidden: 256, layers: 4, heads: 4, ffn: 688 },
  small: { hidden: 512, layers: 8, heads: 8, ffn: 1376 },
  medium: { hidden: 768, layers: 12, heads: 12, ffn: 2048 },
  large: { hidden: 1024, layers: 24, heads: 16, ffn: 2816 },
} as const satisfies Record<string, ModelSize>;
export type ModelSizeName = keyof typeof MODEL_SIZES;

export const MODEL_FAMILIES = ["llama", "mistral", "qwen2", "qwen3"] as const;
export type ModelFamilyName = (typeof MODEL_FAMILIES)[number];
