/** What a decoder is, read from a Hugging Face `config.json`. Fields we do not know are ignored; fields we need are checked. */
import { z } from "zod";
import { UserError } from "../base/index.js";
import { parseRope, type RopeConfig } from "./rope.js";

/** The architectures that differ from one another in more than numbers. DeepSeek-Coder is a `llama` with scaled RoPE. */
export type ModelFamily = "llama" | "mistral" | "qwen2" | "qwen3";

export interface ModelConfig {
  readonly family: ModelFamily;
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly ffnSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headWidth: number;
  readonly normEpsilon: number;
  readonly tiedEmbeddings: boolean;
  /** Biases on the query, key and value projections. */
  readonly qkvBias: boolean;
  /** A bias on the attention's output projection. */
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Queries and keys are normalised per head before the rotation (Qwen3). */
  readonly qkNorm: boolean;
  /** How many tokens back each layer sees, itself included; 0 means all. */
  readonly windows: readonly number[];
  readonly rope: RopeConfig;
  readonly maxPositions: number;
  /** What reads the last hidden states: the vocabulary projection, or a score per token (a reward model). */
  readonly head: "vocabulary" | "score";
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number;
}

const positive = z.int().positive();
const RawConfig = z.looseObject({
  model_type: z.string(),
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.nullish(),
  hidden_act: z.string().default("silu"),
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  sliding_window: z.int().positive().nullish(),
  use_sliding_window: z.boolean().default(false),
  max_window_layers: z.int().nonnegative().optional(),
  layer_types: z.array(z.string()).nullish(),
  max_position_embeddings: positive.default(2048),
  initializer_range: z.number().positive().default(0.02),
  architectures: z.array(z.string()).nullish(),
});
type RawConfig = z.infer<typeof RawConfig>;

interface FamilyTraits {
  readonly biases: (raw: RawConfig) => Pick<ModelConfig, "qkvBias" | "outputBias" | "mlpBias">;
  readonly qkNorm: boolean;
  readonly defaultHeadWidth: number | null;
  /** The window of a sliding layer, or null when the config has none. */
  readonly window: (raw: RawConfig) => number | null;
}

const noBiases = { qkvBias: false, outputBias: false, mlpBias: false };

const FAMILIES: Readonly<Record<ModelFamily, FamilyTraits>> = {
  llama: {
    biases: (raw) => ({ qkvBias: raw.attention_bias, outputBias: raw.attention_bias, mlpBias: raw.mlp_bias }),
    qkNorm: false,
    defaultHeadWidth: null,
    window: () => null,
  },
  mistral: {
    biases: () => noBiases,
    qkNorm: false,
    defaultHeadWidth: null,
    // A config that leaves the key out means transformers' default of 4096; null means no window.
    window: (raw) => (raw.sliding_window === undefined ? 4096 : raw.sliding_window),
  },
  qwen2: {
    biases: () => ({ ...noBiases, qkvBias: true }),
    qkNorm: false,
    defaultHeadWidth: null,
    window: (raw) => (raw.use_sliding_window ? (raw.sliding_window ?? 4096) : null),
  },
  qwen3: {
    biases: (raw) => ({ ...noBiases, qkvBias: raw.attention_bias, outputBias: raw.attention_bias }),
    qkNorm: true,
    defaultHeadWidth: 128,
    window: (raw) => (raw.use_sliding_window ? (raw.sliding_window ?? 4096) : null),
  },
};

/**
 * @param source where `json` was read, for messages
 * @throws UserError naming the field, what was found and what was expected
 */
export function parseModelConfig(json: unknown, source: string): ModelConfig {
  const refuse = (what: string): UserError => new UserError(`Cannot read model config ${source}: ${what}`);
  const parsed = RawConfig.safeParse(json);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw refuse(
      path.length === 0 ? `expected a JSON object, ${message}` : `field "${path.join(".")}": ${message}`,
    );
  }
  const raw = parsed.data;
  if (!Object.hasOwn(FAMILIES, raw.model_type)) {
    throw refuse(`model_type is "${raw.model_type}", expected one of ${Object.keys(FAMILIES).join(", ")}`);
  }
  if (raw.hidden_act !== "silu") throw refuse(`hidden_act is "${raw.hidden_act}", expected "silu"`);
  const family = raw.model_type as ModelFamily; // checked against the table above
  const traits = FAMILIES[family];
  const heads = raw.num_attention_heads;
  const kvHeads = raw.num_key_value_heads ?? heads;
  const headWidth = raw.head_dim ?? traits.defaultHeadWidth ?? raw.hidden_size / heads;
  if (heads % kvHeads !== 0)
    throw refuse(`num_attention_heads ${heads} is no multiple of num_key_value_heads ${kvHeads}`);
  if (!Number.isInteger(headWidth) || headWidth % 2 !== 0) {
    throw refuse(
      `head width is ${headWidth} (hidden_size ${raw.hidden_size} over ${heads} heads), expected an even integer`,
    );
  }
  return {
    family,
    vocabularySize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    ffnSize: raw.intermediate_size,
    layers: raw.num_hidden_layers,
    heads,
    kvHeads,
    headWidth,
    normEpsilon: raw.rms_norm_eps,
    tiedEmbeddings: raw.tie_word_embeddings,
    ...traits.biases(raw),
    qkNorm: traits.qkNorm,
    windows: windowsOf(raw, family, refuse),
    rope: parseRope(raw, { headWidth, maxPositions: raw.max_position_embeddings }, refuse),
    maxPositions: raw.max_position_embeddings,
    head: raw.architectures?.some((name) => name.endsWith("ForSequenceClassification"))
      ? "score"
      : "vocabulary",
    initializerRange: raw.initializer_range,
  };
}

function windowsOf(raw: RawConfig, family: ModelFamily, refuse: (what: string) => UserError): number[] {
  const window = FAMILIES[family].window(raw);
  const { layer_types: types, num_hidden_layers: layers } = raw;
  if (types !== null && types !== undefined) {
    if (types.length !== layers)
      throw refuse(`layer_types has ${types.length} entries, expected num_hidden_layers ${layers}`);
    const unknown = types.find((type) => type !== "full_attention" && type !== "sliding_attention");
    if (unknown !== undefined)
      throw refuse(`layer_types has "${unknown}", expected "full_attention" or "sliding_attention"`);
  }
  // Qwen slides only from max_window_layers on; Mistral slides everywhere.
  const firstSliding = family === "mistral" ? 0 : (raw.max_window_layers ?? 28);
  return Array.from({ length: layers }, (_, layer) => {
    const slides =
      types?.[layer] === undefined ? layer >= firstSliding : types[layer] === "sliding_attention";
    return window !== null && slides ? window : 0;
  });
}
