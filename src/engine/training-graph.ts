/** The graph of one micro-batch: forward pass, loss and, for training, the gradient of every trainable parameter. */

import type { CompileOptions, Graph, Lowering, OnnxModel, QuantisedWeight, Value } from "../graph/index.js";
import * as g from "../graph/index.js";
import type { Loss } from "../losses/index.js";
import {
  attendWithin,
  type DecoderInputs,
  type DecoderWeights,
  decoderHidden,
  decoderLogits,
  decoderLogprobs,
  decoderLogprobsEntropy,
  type LoraConfig,
  loraParameters,
  type ModelConfig,
  parametersOf,
} from "../nn/index.js";
import type { LossFnConfig } from "../protocol/index.js";

/** What the model is made of, apart from the numbers. */
export interface ModelSpec {
  readonly config: ModelConfig;
  readonly lora: LoraConfig | null;
  readonly quantised: QuantisedSpec | null;
  /** Frozen parameters held as bf16 bits, because that is how they were stored. */
  readonly bfloat16: ReadonlySet<string>;
}

export interface QuantisedSpec {
  readonly block: 32 | 128;
  readonly zeroPoints: boolean;
}

export interface TrainingGraphOptions {
  readonly lowering: Lowering;
  readonly loss: Loss;
  readonly lossConfig: LossFnConfig;
  readonly uniform: boolean;
  /** Logprobs are of softmax(logits / temperature), with the temperature a scalar input. @default false */
  readonly isTempered?: boolean;
  /** Empty for a forward pass alone. */
  readonly trainable: readonly string[];
  readonly gradientCheckpointing: boolean;
}

/** Name of the input that divides the logits, in graphs that are tempered. */
export const TEMPERATURE = "temperature";

/** Name of the output that holds a parameter's gradient. */
export const gradientName = (parameter: string): string => `grad:${parameter}`;

/** What the names of outputs begin with that hold a loss's metrics. */
export const METRIC_PREFIX = "metric:";

/** Outputs: `loss` [], `logprobs` [S], `elementwise` [S], `metric:NAME` [S], `grad:NAME` for each trainable parameter. */
export function compileTraining(spec: ModelSpec, options: TrainingGraphOptions): OnnxModel {
  const { lowering, gradientCheckpointing, trainable } = options;
  const graph = trainingGraph(spec, options);
  const gradients = new Set(trainable.map(gradientName));
  const forward = Object.keys(graph.outputs).filter((name) => !gradients.has(name));
  const compileOptions: CompileOptions =
    gradientCheckpointing && trainable.length > 0 ? { lowering, recomputeBehind: forward } : { lowering };
  return g.compile(graph, compileOptions);
}

export function trainingGraph(
  spec: ModelSpec,
  { lowering, loss, lossConfig, uniform, isTempered = false, trainable }: TrainingGraphOptions,
): Graph {
  const weights = weightInputs(spec);
  const { hidden: states, supervised } = supervisedHidden(spec, weights, uniform);
  // The head is linear: hidden states divided by the temperature are logits divided by it, at a fraction of the cost.
  const hidden = isTempered ? g.div(states, g.input(TEMPERATURE, [])) : states;
  const targets = g.input("targets", [supervised], "int64");
  const { logprobs: trainingLogprobs_S, entropy: entropy_S } =
    loss.usesEntropy === true
      ? decoderLogprobsEntropy(spec.config, hidden, targets, weights)
      : { logprobs: decoderLogprobs(spec.config, hidden, targets, weights), entropy: null };
  const inputs = Object.fromEntries(loss.inputs.map((name) => [name, g.input(`loss.${name}`, [supervised])]));
  const sequences_S = g.input("sequences", [supervised], "int64");
  const given = { trainingLogprobs_S, inputs, sequences_S, entropy_S, config: lossConfig };
  const elementwise = loss.perToken(given);
  const metrics = Object.entries(loss.metrics?.(given) ?? {});
  const outputs = {
    loss: g.sumAll(elementwise),
    logprobs: trainingLogprobs_S,
    elementwise,
    ...Object.fromEntries(metrics.map(([name, value]) => [`${METRIC_PREFIX}${name}`, value])),
  };
  // Ops that the provider lacks are taken apart before differentiating, so that their gradients reuse what they computed.
  const forward = g.decompose({ outputs }, lowering);
  if (trainable.length === 0) return forward;
  const byName = inputsOf(forward);
  const gradients = g.gradient(
    forward.outputs["loss"]!,
    trainable.map((name) => byName.get(name)!),
  );
  return {
    outputs: {
      ...forward.outputs,
      ...Object.fromEntries(trainable.map((name, i) => [gradientName(name), gradients[i]!])),
    },
  };
}

/** Logits [S, V] at the supervised places. */
export function compileLogits(
  spec: ModelSpec,
  { lowering, uniform }: { readonly lowering: Lowering; readonly uniform: boolean },
): OnnxModel {
  const weights = weightInputs(spec);
  const { hidden } = supervisedHidden(spec, weights, uniform);
  return g.compile({ outputs: { logits: decoderLogits(spec.config, hidden, weights) } }, { lowering });
}

function supervisedHidden(
  spec: ModelSpec,
  weights: DecoderWeights,
  uniform: boolean,
): { readonly hidden: Value; readonly supervised: g.Dim } {
  const hidden = decoderHidden(spec.config, decoderInputs(spec.config, uniform), weights);
  return { hidden: g.gatherRows(hidden, g.input("supervised", ["S"], "int64")), supervised: "S" };
}

function decoderInputs({ headWidth }: ModelConfig, uniform: boolean): DecoderInputs {
  // In uniform batches the tokens are B full rows of L, in others any number T.
  const tokens = uniform ? "B*L" : "T";
  return {
    tokens: g.input("tokens", [tokens], "int64"),
    positions: g.input("positions", [tokens], "int64"),
    cos: g.input("cos", ["P", headWidth / 2]),
    sin: g.input("sin", ["P", headWidth / 2]),
    attend: attendWithin(
      {
        ends: g.input("ends", [tokens], "int32"),
        rows: g.input("rows", ["B*L"], "int64"),
        places: g.input("places", [tokens], "int64"),
        startColumns: g.input("startColumns", ["B*L"], "int64"),
        columns: g.input("columns", ["L"], "int64"),
      },
      uniform,
    ),
  };
}

/** The weights of a model as graph inputs. */
export function weightInputs({ config, lora, quantised, bfloat16 }: ModelSpec): DecoderWeights {
  const values = new Map<string, Value>();
  const packed = new Map<string, QuantisedWeight>();
  for (const { name, shape, role } of parametersOf(config)) {
    if (quantised !== null && role === "projection")
      packed.set(name, quantisedInputs(name, shape as readonly [number, number], quantised));
    else if (bfloat16.has(name)) values.set(name, g.widen(g.input(name, shape, "uint16")));
    else values.set(name, g.input(name, shape));
  }
  if (lora !== null) {
    for (const { name, shape } of loraParameters(config, lora)) values.set(name, g.input(name, shape));
  }
  return {
    value: (name) => {
      const value = values.get(name);
      if (value === undefined) throw new Error(`internal: the model has no weight "${name}"`);
      return value;
    },
    quantised: (name) => packed.get(name) ?? null,
    lora,
  };
}

function quantisedInputs(
  name: string,
  [rows, columns]: readonly [number, number],
  { block, zeroPoints }: QuantisedSpec,
): QuantisedWeight {
  const scales: g.Shape = [rows, columns / block];
  return {
    packed: g.input(`${name}.packed`, [rows, columns / 2], "uint8"),
    scales: g.input(`${name}.scales`, scales),
    ...(zeroPoints ? { zeros: g.input(`${name}.zeros`, scales, "uint8") } : {}),
    block,
  };
}

function inputsOf(graph: Graph): Map<string, Value> {
  const nodes = g.nodesOf(graph).filter((node) => node.op.name === "input");
  return new Map(
    nodes.map((node) => [(node.attributes as { readonly name: string }).name, node.outputs[0]!]),
  ); // what Input holds
}
