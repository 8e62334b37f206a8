/** Every parameter of a decoder, by the name and in the shape in which checkpoints store it. */
import type { ModelConfig } from "./model-config.js";

export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** How fresh models fill it; `projection` weights can be quantised and carry adapters. */
  readonly role: "embedding" | "projection" | "head" | "norm" | "bias";
}

/** The projections of one layer, in the order in which a token meets them. */
export const PROJECTIONS = [
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.o_proj",
  "mlp.gate_proj",
  "mlp.up_proj",
  "mlp.down_proj",
] as const;
export type Projection = (typeof PROJECTIONS)[number];

export const EMBEDDING = "model.embed_tokens.weight";
export const FINAL_NORM = "model.norm.weight";
/** A reward model's head, as transformers names it in sequence classification. */
export const SCORE = "score.weight";

/** The vocabulary projection: a matrix of its own, or the embedding again. */
export function headName(config: ModelConfig): string {
  return config.tiedEmbeddings ? EMBEDDING : "lm_head.weight";
}

export function layerName(layer: number, part: string): string {
  return `model.layers.${layer}.${part}`;
}

/** [out, in] of a projection's weight. */
export function projectionShape(config: ModelConfig, projection: Projection): readonly [number, number] {
  const { hiddenSize, ffnSize, heads, kvHeads, headWidth } = config;
  switch (projection) {
    case "self_attn.q_proj":
      return [heads * headWidth, hiddenSize];
    case "self_attn.k_proj":
    case "self_attn.v_proj":
      return [kvHeads * headWidth, hiddenSize];
    case "self_attn.o_proj":
      return [hiddenSize, heads * headWidth];
    case "mlp.gate_proj":
    case "mlp.up_proj":
      return [ffnSize, hiddenSize];
    case "mlp.down_proj":
      return [hiddenSize, ffnSize];
  }
}

export function hasBias(config: ModelConfig, projection: Projection): boolean {
  if (projection.startsWith("mlp.")) return config.mlpBias;
  return projection === "self_attn.o_proj" ? config.outputBias : config.qkvBias;
}

/** The score's row, where the model is a reward model. */
export function scoreParameters({ head, hiddenSize }: ModelConfig): Parameter[] {
  return head === "score" ? [{ name: SCORE, shape: [1, hiddenSize], role: "head" }] : [];
}

export function parametersOf(config: ModelConfig): Parameter[] {
  const { hiddenSize, headWidth, vocabularySize } = config;
  const layers = Array.from({ length: config.layers }, (_, layer): Parameter[] => [
    { name: layerName(layer, "input_layernorm.weight"), shape: [hiddenSize], role: "norm" },
    ...PROJECTIONS.flatMap((projection): Parameter[] => {
      const shape = projectionShape(config, projection);
      const weight: Parameter = { name: layerName(layer, `${projection}.weight`), shape, role: "projection" };
      const bias: Parameter = {
        name: layerName(layer, `${projection}.bias`),
        shape: [shape[0]],
        role: "bias",
      };
      return hasBias(config, projection) ? [weight, bias] : [weight];
    }),
    ...(config.qkNorm
      ? ["q_norm", "k_norm"].map(
          (norm): Parameter => ({
            name: layerName(layer, `self_attn.${norm}.weight`),
            shape: [headWidth],
            role: "norm",
          }),
        )
      : []),
    { name: layerName(layer, "post_attention_layernorm.weight"), shape: [hiddenSize], role: "norm" },
  ]);
  return [
    { name: EMBEDDING, shape: [vocabularySize, hiddenSize], role: "embedding" },
    ...layers.flat(),
    { name: FINAL_NORM, shape: [hiddenSize], role: "norm" },
    ...scoreParameters(config),
    ...(config.tiedEmbeddings || config.head === "score"
      ? []
      : [{ name: "lm_head.weight", shape: [vocabularySize, hiddenSize], role: "head" as const }]),
  ];
}

/** Number of weights. */
export function parameterCount(config: ModelConfig): number {
  return parametersOf(config).reduce((total, { shape }) => total + shape.reduce((a, b) => a * b, 1), 0);
}
