/** From GGUF's metadata to Hugging Face's `config.json`, for the architectures that this program trains. */
import { UserError } from "../../base/index.js";
import type { GgufFile } from "../../tensor/index.js";
import { sizeOf } from "../../tensor/index.js";
import { inverseFrequencies } from "../rope.js";

/** GGUF architecture to Hugging Face's class. llama.cpp calls Mistral "llama"; its window, if stored, tells. */
const CLASSES: Readonly<Record<string, string>> = {
  llama: "LlamaForCausalLM",
  mistral: "MistralForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
};

/** Where Llama 3.1's frequency factors are; one number per pair. */
export const ROPE_FACTORS = "rope_freqs.weight";

/** @throws UserError naming the key, what was found and what was expected */
export function configOfGguf(file: GgufFile): Record<string, unknown> {
  const read = metadataReader(file);
  const architecture = read.text("general.architecture");
  if (!Object.hasOwn(CLASSES, architecture)) {
    throw read.refuse(
      `general.architecture is "${architecture}"`,
      `one of ${Object.keys(CLASSES).join(", ")}`,
    );
  }
  const key = (name: string): string => `${architecture}.${name}`;
  const experts = read.numberOr(key("expert_count"), 0);
  if (experts > 0) throw read.refuse(`${key("expert_count")} is ${experts}`, "a dense model");
  const hidden = read.number(key("embedding_length"));
  const heads = read.number(key("attention.head_count"));
  const headWidth = read.numberOr(key("attention.key_length"), hidden / heads);
  for (const name of ["attention.value_length", "rope.dimension_count"]) {
    const value = read.numberOr(key(name), headWidth);
    if (value !== headWidth) throw read.refuse(`${key(name)} is ${value}`, `the head's width ${headWidth}`);
  }
  // A layer has at least one tensor, so a lying count cannot make us describe more layers than the file holds.
  const layers = read.number(key("block_count"));
  if (layers > file.tensors.size) {
    throw read.refuse(
      `${key("block_count")} is ${layers}`,
      `at most ${file.tensors.size}, its number of tensors`,
    );
  }
  const embedding = file.tensors.get("token_embd.weight");
  if (embedding === undefined) throw read.refuse("it has no token_embd.weight", "an embedding");
  const window = read.numberOr(key("attention.sliding_window"), 0);
  const isMistral = architecture === "mistral" || (architecture === "llama" && window > 0);
  const family = isMistral ? "mistral" : architecture;
  const config = {
    architectures: [CLASSES[family]],
    model_type: family,
    vocab_size: embedding.shape[0],
    hidden_size: hidden,
    intermediate_size: read.number(key("feed_forward_length")),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: read.numberOr(key("attention.head_count_kv"), heads),
    head_dim: headWidth,
    max_position_embeddings: read.number(key("context_length")),
    hidden_act: "silu",
    rms_norm_eps: shortest(read.number(key("attention.layer_norm_rms_epsilon"))),
    rope_theta: shortest(read.numberOr(key("rope.freq_base"), 10000)),
    tie_word_embeddings: !file.tensors.has("output.weight"),
    ...(isMistral ? { sliding_window: window > 0 ? window : null } : {}),
    ...(family === "llama" || family === "qwen3"
      ? { attention_bias: file.tensors.has("blk.0.attn_q.bias") }
      : {}),
    ...(family === "llama" ? { mlp_bias: file.tensors.has("blk.0.ffn_gate.bias") } : {}),
    ...tokenIds(read),
  };
  const scaling = ropeScaling(file, read, { key, headWidth, theta: config.rope_theta });
  return scaling === undefined ? config : { ...config, rope_scaling: scaling };
}

interface MetadataReader {
  text(key: string): string;
  number(key: string): number;
  numberOr(key: string, fallback: number): number;
  refuse(found: string, expected: string): UserError;
}

function metadataReader(file: GgufFile): MetadataReader {
  const refuse = (found: string, expected: string): UserError =>
    new UserError(`Cannot convert GGUF file "${file.path}": ${found}, expected ${expected}`);
  const number = (key: string): number | undefined => {
    const entry = file.metadata.get(key);
    if (entry === undefined) return undefined;
    const value = typeof entry.value === "bigint" ? Number(entry.value) : entry.value;
    if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
    throw refuse(`${key} is of type ${entry.type}`, "one non-negative number");
  };
  return {
    refuse,
    text(key) {
      const entry = file.metadata.get(key);
      if (entry?.type === "string") return entry.value;
      throw refuse(`${key} is ${entry === undefined ? "missing" : `of type ${entry.type}`}`, "a string");
    },
    number(key) {
      const value = number(key);
      if (value === undefined) throw refuse(`${key} is missing`, "a number");
      return value;
    },
    numberOr: (key, fallback) => number(key) ?? fallback,
  };
}

function tokenIds(read: MetadataReader): Record<string, number> {
  const ids = {
    bos_token_id: "bos_token_id",
    eos_token_id: "eos_token_id",
    pad_token_id: "padding_token_id",
  };
  const found = Object.entries(ids).map(([name, key]) => [name, read.numberOr(`tokenizer.ggml.${key}`, -1)]);
  return Object.fromEntries(found.filter(([, id]) => id !== -1));
}

function ropeScaling(
  file: GgufFile,
  read: MetadataReader,
  { key, headWidth, theta }: { key: (name: string) => string; headWidth: number; theta: number },
): Record<string, unknown> | undefined {
  if (file.tensors.has(ROPE_FACTORS)) return llama3Scaling(file, read, { headWidth, theta });
  const typeKey = key("rope.scaling.type");
  const type = file.metadata.has(typeKey) ? read.text(typeKey) : "none";
  // Files older than rope.scaling.* hold the factor alone.
  const factor = read.numberOr(key("rope.scaling.factor"), read.numberOr(key("rope.scale_linear"), 1));
  if (type === "none") return factor === 1 ? undefined : { rope_type: "linear", factor };
  if (type === "linear") return { rope_type: "linear", factor };
  if (type !== "yarn") throw read.refuse(`${typeKey} is "${type}"`, "none, linear or yarn");
  const original = read.number(key("rope.scaling.original_context_length"));
  const optional = { beta_fast: "rope.scaling.yarn_beta_fast", beta_slow: "rope.scaling.yarn_beta_slow" };
  const extras = Object.entries(optional)
    .map(([name, gguf]) => [name, read.numberOr(key(gguf), 0)] as const)
    .filter(([, value]) => value > 0);
  return {
    rope_type: "yarn",
    factor,
    original_max_position_embeddings: original,
    ...Object.fromEntries(extras),
  };
}

/** Meta's constants for every Llama 3.1, 3.2 and 3.3; the factor is 8 or 32. */
const LLAMA3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/**
 * GGUF keeps what Llama 3.1's scaling does to each pair (the divisor of its frequency), not its parameters.
 * The largest divisor is the factor; the others are Meta's constants, and the result is compared, pair by pair.
 */
function llama3Scaling(
  file: GgufFile,
  read: MetadataReader,
  { headWidth, theta }: { headWidth: number; theta: number },
): Record<string, unknown> {
  const { shape } = file.tensors.get(ROPE_FACTORS)!;
  if (sizeOf(shape) !== headWidth / 2) {
    throw read.refuse(`${ROPE_FACTORS} has shape [${shape.join(", ")}]`, `[${headWidth / 2}], one per pair`);
  }
  const divisors = new Float32Array(headWidth / 2);
  file.readInto(ROPE_FACTORS, divisors, { rejectNonFinite: true });
  const factor = Math.max(...divisors);
  const base = { theta, headWidth, maxPositions: LLAMA3.original_max_position_embeddings };
  const plain = inverseFrequencies({ ...base, type: "default" }, 1);
  const scaled = inverseFrequencies(
    {
      ...base,
      type: "llama3",
      factor,
      lowFrequencyFactor: LLAMA3.low_freq_factor,
      highFrequencyFactor: LLAMA3.high_freq_factor,
      originalPositions: LLAMA3.original_max_position_embeddings,
    },
    1,
  );
  const bad = divisors.findIndex((divisor, i) => Math.abs(plain[i]! / scaled[i]! / divisor - 1) > 1e-3);
  if (bad >= 0) {
    throw read.refuse(
      `${ROPE_FACTORS} divides pair ${bad} by ${divisors[bad]}`,
      `${plain[bad]! / scaled[bad]!}, as Llama 3.1's scaling with factor ${factor} does`,
    );
  }
  return { rope_type: "llama3", factor, ...LLAMA3 };
}

/** The shortest decimal that is the same float32, so that 1e-5 does not become 0.000009999999747378752. */
function shortest(value: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}
