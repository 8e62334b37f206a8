/**
 * The Llama-like decoder as a graph over packed tokens: embedding, layers of attention and gated feed-forward network
 * around a residual stream, final norm. The families differ only in what `ModelConfig` says.
 */

import type {
  AttentionLayout,
  DecodeAttentionAttributes,
  PanelWeight,
  QuantisedWeight,
  Value,
} from "../../graph/index.js";
import * as g from "../../graph/index.js";
import { type LoraConfig, loraNames, loraScaling } from "../lora.js";
import type { ModelConfig } from "../model-config.js";
import { EMBEDDING, FINAL_NORM, hasBias, headName, layerName, type Projection } from "../parameters.js";

/** The weights as graph values, by their checkpoint names. */
export interface DecoderWeights {
  readonly value: (name: string) => Value;
  /** The 4-bit form of a projection's weight, where the base is quantised. */
  readonly quantised: (name: string) => QuantisedWeight | null;
  /** The packed form of a weight, where the graph is to multiply by that. */
  readonly packed?: (name: string) => PanelWeight | null;
  readonly lora: LoraConfig | null;
}

/** What a layer's tokens attend to: rotated queries [T, H·K] and keys, and values [T, KV·K] → [T, H·K]. */
export type Attend = (
  heads: { readonly q: Value; readonly k: Value; readonly v: Value },
  attributes: DecodeAttentionAttributes,
  layer: number,
) => Value;

/** T packed tokens: ids and rows of the rotary tables, both int64 [T], tables [P, K/2], and how tokens form sequences. */
export interface DecoderInputs {
  readonly tokens: Value;
  readonly positions: Value;
  readonly cos: Value;
  readonly sin: Value;
  readonly attend: Attend;
}

/** Attention among the tokens themselves. `uniform`: all rows of the layout are full. */
export function attendWithin(layout: AttentionLayout, uniform: boolean): Attend {
  return (heads, attributes) => g.attention(heads, layout, { ...attributes, uniform });
}

/** Normalised hidden states [T, C] after the last layer. */
export function decoderHidden(config: ModelConfig, inputs: DecoderInputs, weights: DecoderWeights): Value {
  let x = g.gatherRows(weights.value(EMBEDDING), inputs.tokens);
  for (let layer = 0; layer < config.layers; layer++)
    x = decoderLayer(config, layer, g.checkpoint(x), inputs, weights);
  return g.rmsNorm(g.checkpoint(x), weights.value(FINAL_NORM), config.normEpsilon);
}

/** Logprobs [S] in nats of `targets` [S] after the hidden states [S, C]. */
export function decoderLogprobs(
  config: ModelConfig,
  hidden: Value,
  targets: Value,
  weights: DecoderWeights,
): Value {
  return g.logprobs(hidden, weights.value(headName(config)), targets);
}

/** The same with the entropy [S] of the distributions that the targets are outcomes of. */
export function decoderLogprobsEntropy(
  config: ModelConfig,
  hidden: Value,
  targets: Value,
  weights: DecoderWeights,
): { readonly logprobs: Value; readonly entropy: Value } {
  return g.logprobsEntropy(hidden, weights.value(headName(config)), targets);
}

/** Logits [S, V] after the hidden states [S, C]; for sampling and inspection, training never holds them. */
export function decoderLogits(config: ModelConfig, hidden: Value, weights: DecoderWeights): Value {
  return linear(hidden, headName(config), weights);
}

function decoderLayer(
  config: ModelConfig,
  layer: number,
  x: Value,
  inputs: DecoderInputs,
  weights: DecoderWeights,
): Value {
  const norm = (value: Value, name: string): Value =>
    g.rmsNorm(value, weights.value(layerName(layer, name)), config.normEpsilon);
  const project = (value: Value, projection: Projection): Value =>
    projected(config, layer, projection, value, weights);

  const attended = attend(config, layer, norm(x, "input_layernorm.weight"), inputs, { project, norm });
  const middle = g.add(x, project(attended, "self_attn.o_proj"));
  const normed = norm(middle, "post_attention_layernorm.weight");
  const activated = g.swiglu(project(normed, "mlp.gate_proj"), project(normed, "mlp.up_proj"));
  return g.add(middle, project(activated, "mlp.down_proj"));
}

function attend(
  config: ModelConfig,
  layer: number,
  x: Value,
  { positions, cos, sin, attend: attendTo }: DecoderInputs,
  {
    project,
    norm,
  }: {
    readonly project: (x: Value, projection: Projection) => Value;
    readonly norm: (x: Value, name: string) => Value;
  },
): Value {
  const { heads, kvHeads, headWidth } = config;
  const tokens = x.shape[0]!;
  const perHead = (value: Value, count: number, name: string): Value => {
    if (!config.qkNorm) return value;
    const rows = g.reshape(value, [g.multiplyDims(tokens, count), headWidth]);
    return g.reshape(norm(rows, name), value.shape);
  };
  const q = perHead(project(x, "self_attn.q_proj"), heads, "self_attn.q_norm.weight");
  const k = perHead(project(x, "self_attn.k_proj"), kvHeads, "self_attn.k_norm.weight");
  const rotated = {
    q: g.rotary(q, positions, { cos, sin }, heads),
    k: g.rotary(k, positions, { cos, sin }, kvHeads),
    v: project(x, "self_attn.v_proj"),
  };
  const scale = 1 / Math.sqrt(headWidth);
  return attendTo(rotated, { heads, kvHeads, scale, window: config.windows[layer]! }, layer);
}

/** x·Wᵀ, with the bias and the adapter that the projection has. */
function projected(
  config: ModelConfig,
  layer: number,
  projection: Projection,
  x: Value,
  weights: DecoderWeights,
): Value {
  const name = layerName(layer, projection);
  const bias = hasBias(config, projection) ? weights.value(`${name}.bias`) : undefined;
  const quantised = weights.quantised(`${name}.weight`);
  const base =
    quantised === null
      ? linear(x, `${name}.weight`, weights, bias)
      : withBias(g.quantisedLinear(x, quantised), bias);
  const { lora } = weights;
  if (lora === null || !lora.targets.includes(projection)) return base;
  const { a, b } = loraNames(layer, projection);
  const narrow = g.matmul(x, weights.value(a), { transB: true });
  return g.matmul(narrow, weights.value(b), { transB: true, alpha: loraScaling(lora), plus: base });
}

function linear(x: Value, name: string, weights: DecoderWeights, bias?: Value): Value {
  const packed = weights.packed?.(name) ?? null;
  return packed === null ? g.linear(x, weights.value(name), bias) : g.panelLinear(x, packed, bias);
}

function withBias(x: Value, bias: Value | undefined): Value {
  return bias === undefined ? x : g.add(x, bias);
}
