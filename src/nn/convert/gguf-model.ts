/** Reads a GGUF file (llama, mistral, qwen2, qwen3) as a model in Hugging Face's layout. */
import { UserError } from "../../base/index.js";
import { type GgufFile, type GgufValue, openGguf, quantisedFromQ4_0, sizeOf } from "../../tensor/index.js";
import { type ModelConfig, parseModelConfig } from "../model-config.js";
import { type Parameter, parametersOf } from "../parameters.js";
import type { ConvertedModel, ConvertedTensor } from "./converted-model.js";
import { configOfGguf, ROPE_FACTORS } from "./gguf-config.js";
import { halvesFromPairs } from "./rotary-rows.js";

export interface GgufModel extends ConvertedModel {
  /** Everything the file says, the tokenizer's vocabulary included. */
  readonly metadata: ReadonlyMap<string, GgufValue>;
}

/** Hugging Face's part of a name to GGUF's. */
const OUTER: Readonly<Record<string, string>> = {
  "model.embed_tokens.weight": "token_embd.weight",
  "model.norm.weight": "output_norm.weight",
  "lm_head.weight": "output.weight",
};
const INNER: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

/** GGUF's name of a parameter: `blk.3.attn_q.weight` for `model.layers.3.self_attn.q_proj.weight`. */
export function ggufNameOf(name: string): string {
  const outer = OUTER[name];
  if (outer !== undefined) return outer;
  const [, layer, part, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  const inner = part === undefined ? undefined : INNER[part];
  if (inner === undefined) throw new Error(`internal: parameter "${name}" has no name in GGUF`);
  return `blk.${layer}.${inner}.${kind}`;
}

/**
 * Opens a GGUF file. Quantised weights are decoded when read; Q4_0 can be taken as it is.
 *
 * @throws UserError for an unknown architecture, missing, unknown or misshapen tensors
 */
export function readGgufModel(path: string): GgufModel {
  const file = openGguf(path);
  try {
    const json = configOfGguf(file);
    const config = parseModelConfig(json, `of GGUF file "${path}"`);
    const parameters = parametersOf(config);
    expectExactly(file, parameters);
    const tensors = parameters.map((parameter) => convertedTensor(file, parameter, json, config));
    return { config: json, tensors, metadata: file.metadata, close: () => file.close() };
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}

function expectExactly(file: GgufFile, parameters: readonly Parameter[]): void {
  const refuse = (found: string, expected: string): UserError =>
    new UserError(`Cannot convert GGUF file "${file.path}": ${found}, expected ${expected}`);
  const expected = new Map(parameters.map(({ name, shape }) => [ggufNameOf(name), shape]));
  for (const [name, shape] of expected) {
    const entry = file.tensors.get(name);
    const wanted = `[${shape.join(", ")}]`;
    if (entry === undefined) throw refuse(`tensor "${name}" is missing`, `it with shape ${wanted}`);
    if (entry.shape.join() !== shape.join()) {
      throw refuse(`tensor "${name}" has shape [${entry.shape.join(", ")}]`, `${wanted} by its metadata`);
    }
  }
  // A tensor left out would silently make another model.
  const unknown = [...file.tensors.keys()].find((name) => !expected.has(name) && name !== ROPE_FACTORS);
  if (unknown !== undefined) {
    throw refuse(`it has a tensor "${unknown}"`, "only tensors of a plain model of its architecture");
  }
}

function convertedTensor(
  file: GgufFile,
  { name, shape }: Parameter,
  json: Readonly<Record<string, unknown>>,
  config: ModelConfig,
): ConvertedTensor {
  const source = ggufNameOf(name);
  // llama.cpp turns neighbouring pairs for its llama architecture (Mistral included), halves for Qwen.
  const isPaired = json["model_type"] === "llama" || json["model_type"] === "mistral";
  const heads = /self_attn\.q_proj/.test(name) ? config.heads : config.kvHeads;
  const isReordered = isPaired && /self_attn\.[qk]_proj/.test(name);
  const reorder = <T extends Float32Array | Uint8Array>(data: T): T =>
    isReordered ? halvesFromPairs(data, { heads, headWidth: config.headWidth }) : data;
  const tensor: ConvertedTensor = {
    name,
    shape,
    read() {
      const data = new Float32Array(sizeOf(shape));
      file.readInto(source, data, { rejectNonFinite: true });
      return reorder(data);
    },
  };
  const [rows, columns] = shape;
  if (file.tensors.get(source)!.type !== "Q4_0" || rows === undefined || columns === undefined) return tensor;
  return { ...tensor, readQ4: () => quantisedFromQ4_0(reorder(file.readRaw(source)), rows, columns) };
}
