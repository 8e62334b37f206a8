/** The graph of one sampling step: new tokens of several sequences, over what the cache holds of them. */

import type { Lowering, OnnxModel, Value } from "../../graph/index.js";
import * as g from "../../graph/index.js";
import {
  type Attend,
  type DecoderInputs,
  decoderHidden,
  decoderLogits,
  decoderLogprobs,
  type ModelConfig,
} from "../../nn/index.js";
import { type ModelSpec, weightInputs } from "../training-graph.js";
import { keysName, valuesName } from "./kv-cache.js";
import { type PackedParameter, panelsName } from "./packed-weights.js";

export interface DecodingGraphOptions {
  readonly lowering: Lowering;
  /** Also gives the logprobs of `targets` after the tokens `scored`, for prompts. */
  readonly scoresPrompt: boolean;
  /** Weights that are fed packed (`panelsName`). @default none */
  readonly packed?: readonly PackedParameter[];
}

export const newKeysName = (layer: number): string => `k.${layer}`;
export const newValuesName = (layer: number): string => `v.${layer}`;

/**
 * T tokens of S sequences → `logits` [R, V] after the tokens `wanted` [R], and `promptLogprobs` where asked for. Where
 * no kernel writes the cache, each layer's new keys and values are outputs as well.
 */
export function compileDecoding(
  spec: ModelSpec,
  { lowering, scoresPrompt, packed = [] }: DecodingGraphOptions,
): OnnxModel {
  const { config } = spec;
  const weights = { ...weightInputs(spec), packed: packedInputs(packed) };
  const outputs: Record<string, Value> = {};
  const layout = cacheLayout();
  const attend: Attend = ({ q, k, v }, attributes, layer) => {
    const width = g.CACHE_PAGE * config.kvHeads * config.headWidth;
    const keys = g.input(keysName(layer), ["P", width]);
    const values = g.input(valuesName(layer), ["P", width]);
    outputs[newKeysName(layer)] = k;
    outputs[newValuesName(layer)] = v;
    return g.decodeAttention({ q, k, v }, { keys, values }, layout, attributes);
  };
  const hidden = decoderHidden(config, decoderInputs(config, attend), weights);
  const after = (name: string, rows: string): Value => g.gatherRows(hidden, g.input(name, [rows], "int64"));
  if (writesCache(config, lowering)) for (const name of Object.keys(outputs)) delete outputs[name];
  outputs["logits"] = decoderLogits(config, after("wanted", "R"), weights);
  if (scoresPrompt) {
    const targets = g.input("targets", ["Q"], "int64");
    outputs["promptLogprobs"] = decoderLogprobs(config, after("scored", "Q"), targets, weights);
  }
  return g.compile({ outputs }, { lowering });
}

/** Whether running the graph also stores the new keys and values. */
export function writesCache({ headWidth }: ModelConfig, lowering: Lowering): boolean {
  return lowering === "native" && headWidth % 4 === 0 && headWidth <= 1024;
}

function packedInputs(parameters: readonly PackedParameter[]): (name: string) => g.PanelWeight | null {
  const inputs = new Map(
    parameters.map(({ name, shape }) => [name, g.panelInput(panelsName(name), shape)] as const),
  );
  return (name) => inputs.get(name) ?? null;
}

function decoderInputs({ headWidth }: ModelConfig, attend: Attend): DecoderInputs {
  return {
    tokens: g.input("tokens", ["T"], "int64"),
    positions: g.input("angles", ["T"], "int64"),
    cos: g.input("cos", ["A", headWidth / 2]),
    sin: g.input("sin", ["A", headWidth / 2]),
    attend,
  };
}

function cacheLayout(): g.CacheLayout {
  return {
    tables: g.input("tables", ["S", "M"], "int32"),
    sequences: g.input("sequences", ["T"], "int32"),
    positions: g.input("positions", ["T"], "int32"),
    pastLengths: g.input("pastLengths", ["S"], "int64"),
    rows: g.input("rows", ["N*S"], "int64"),
    places: g.input("places", ["T"], "int64"),
    columns: g.input("columns", ["N"], "int64"),
    keyColumns: g.input("keyColumns", [`${g.CACHE_PAGE}*M`], "int64"),
  };
}
