/** The models that benchmarks train: sizes and batch, as config.json and as numbers. Knows no weights. */

/** Sizes of a Llama-like decoder and the batch it is trained on. */
export interface ModelShape {
  readonly family: "llama" | "qwen2";
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly ffnWidth: number;
  readonly vocabularySize: number;
  readonly tiedEmbeddings: boolean;
  /** Sequences of a step, and the tokens of each. */
  readonly sequences: number;
  readonly tokens: number;
  /** null trains every weight; else adapters of this rank on all linear layers but the head. */
  readonly loraRank: number | null;
}

const QWEN = { family: "qwen2", sequences: 1, loraRank: 16 } as const;

/** Models (a), (b) and (c) of the engine's measured prototype, and a 7B shape for memory. */
export const MODEL_SHAPES = {
  tiny: {
    ...{
      family: "llama",
      hiddenSize: 256,
      layers: 4,
      heads: 4,
      kvHeads: 4,
      ffnWidth: 688,
      vocabularySize: 512,
    },
    ...{ tiedEmbeddings: false, sequences: 16, tokens: 128, loraRank: null },
  },
  small: {
    ...{
      family: "llama",
      hiddenSize: 512,
      layers: 8,
      heads: 8,
      kvHeads: 8,
      ffnWidth: 1376,
      vocabularySize: 4096,
    },
    ...{ tiedEmbeddings: false, sequences: 8, tokens: 256, loraRank: null },
  },
  "qwen2.5-0.5b": {
    ...{
      ...QWEN,
      hiddenSize: 896,
      layers: 24,
      heads: 14,
      kvHeads: 2,
      ffnWidth: 4864,
      vocabularySize: 151_936,
    },
    ...{ tiedEmbeddings: true, tokens: 256 },
  },
  "qwen2.5-7b": {
    ...{
      ...QWEN,
      hiddenSize: 3584,
      layers: 28,
      heads: 28,
      kvHeads: 4,
      ffnWidth: 18_944,
      vocabularySize: 152_064,
    },
    ...{ tiedEmbeddings: false, tokens: 128 },
  },
} as const satisfies Record<string, ModelShape>;

/** How a checkpoint's weights are stored; arithmetic is float32 with either. */
export type StoredAs = "float32" | "bfloat16";

/** What the Hugging Face repository of such a model has as config.json. */
export function configOf(shape: ModelShape, storedAs: StoredAs = "float32"): Record<string, unknown> {
  const isQwen = shape.family === "qwen2";
  return {
    architectures: [isQwen ? "Qwen2ForCausalLM" : "LlamaForCausalLM"],
    model_type: shape.family,
    hidden_act: "silu",
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.ffnWidth,
    max_position_embeddings: isQwen ? 32_768 : 1024,
    num_attention_heads: shape.heads,
    num_hidden_layers: shape.layers,
    num_key_value_heads: shape.kvHeads,
    rms_norm_eps: 1e-6,
    rope_theta: isQwen ? 1_000_000 : 10_000,
    tie_word_embeddings: shape.tiedEmbeddings,
    torch_dtype: storedAs,
    vocab_size: shape.vocabularySize,
  };
}

/** Inputs and outputs of the linear layers of one decoder layer, in the order they are applied. */
export function linearsOf(
  shape: ModelShape,
): readonly { readonly inputs: number; readonly outputs: number }[] {
  const { hiddenSize, ffnWidth, heads, kvHeads } = shape;
  const kvWidth = (hiddenSize / heads) * kvHeads;
  return [
    { inputs: hiddenSize, outputs: hiddenSize }, // query
    { inputs: hiddenSize, outputs: kvWidth }, // key
    { inputs: hiddenSize, outputs: kvWidth }, // value
    { inputs: hiddenSize, outputs: hiddenSize }, // attention output
    { inputs: hiddenSize, outputs: ffnWidth }, // gate
    { inputs: hiddenSize, outputs: ffnWidth }, // up
    { inputs: ffnWidth, outputs: hiddenSize }, // down
  ];
}
