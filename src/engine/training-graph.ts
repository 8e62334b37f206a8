/** The graph of one micro-batch: forward pass, loss and, for training, the gradient of every trainable parameter. */

import type { CompileOptions, Graph, Lowering, OnnxModel, QuantisedWeight, Value } from "../graph/index.js";
import * as g from "../graph/index.js";
import type { Loss, LossArguments } from "../losses/index.js";
import {
  attendWithin,
  type DecoderInputs,
  type DecoderWeights,
  decoderHidden,
  decoderLogits,
  decoderLogprobs,
  decoderLogprobsEntropy,
  type LoraConfig,
  type ModelConfig,
  parametersOf,
  rewardHead,
  SCORE,
  trainableParameters,
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

/** Outputs: `loss` [], `logprobs` [S] or, of losses that read them, `scores` [S], `elementwise` [S], `metric:NAME` [S], `grad:NAME` for each trainable parameter. */
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
  const states_T = decoderHidden(spec.config, decoderInputs(spec.config, uniform), weights);
  const supervised_S = g.input("supervised", ["S"], "int64");
  const inputs = Object.fromEntries(loss.inputs.map((name) => [name, g.input(`loss.${name}`, ["S"])]));
  const read = {
    inputs,
    sequences_S: g.input("sequences", ["S"], "int64"),
    config: lossConfig,
    ...(loss.reads === "scores"
      ? readScores(states_T, supervised_S, weights)
      : readLogprobs(spec, g.gatherRows(states_T, supervised_S), weights, { loss, isTempered })),
  };
  const elementwise = loss.perToken(read);
  const metrics = Object.entries(loss.metrics?.(read) ?? {});
  const outputs = {
    loss: g.sumAll(elementwise),
    ...(loss.reads === "scores" ? { scores: read.scores_S! } : { logprobs: read.trainingLogprobs_S }),
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

type Read = Pick<LossArguments, "trainingLogprobs_S" | "scores_S" | "entropy_S">;

function readLogprobs(
  { config }: ModelSpec,
  states_S: Value,
  weights: DecoderWeights,
  { loss, isTempered }: { readonly loss: Loss; readonly isTempered: boolean },
): Read {
  // The head is linear: hidden states divided by the temperature are logits divided by it, at a fraction of the cost.
  const hidden = isTempered ? g.div(states_S, g.input(TEMPERATURE, [])) : states_S;
  const targets = g.input("targets", ["S"], "int64");
  if (loss.usesEntropy !== true)
    return { trainingLogprobs_S: decoderLogprobs(config, hidden, targets, weights), entropy_S: null };
  const { logprobs, entropy } = decoderLogprobsEntropy(config, hidden, targets, weights);
  return { trainingLogprobs_S: logprobs, entropy_S: entropy };
}

function readScores(states_T: Value, supervised_S: Value, weights: DecoderWeights): Read {
  return {
    scores_S: rewardHead(states_T, weights.value(SCORE), supervised_S),
    // A reward model predicts no tokens. An input that nobody feeds: a graph that read it could not run.
    trainingLogprobs_S: g.input("absent logprobs", ["S"]),
    entropy_S: null,
  };
}

/** Scores [S] at the supervised places. */
export function compileScores(
  spec: ModelSpec,
  { lowering, uniform }: { readonly lowering: Lowering; readonly uniform: boolean },
): OnnxModel {
  const weights = weightInputs(spec);
  const states_T = decoderHidden(spec.config, decoderInputs(spec.config, uniform), weights);
  const { scores_S } = readScores(states_T, g.input("supervised", ["S"], "int64"), weights);
  return g.compile({ outputs: { scores: scores_S! } }, { lowering });
}

/** Logits [S, V] at the supervised places. */
export function compileLogits(
  spec: ModelSpec,
  { lowering, uniform }: { readonly lowering: Lowering; readonly uniform: boolean },
): OnnxModel {
  const weights = weightInputs(spec);
  const states_T = decoderHidden(spec.config, decoderInputs(spec.config, uniform), weights);
  const hidden = g.gatherRows(states_T, g.input("supervised", ["S"], "int64"));
  return g.compile({ outputs: { logits: decoderLogits(spec.config, hidden, weights) } }, { lowering });
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
    for (const { name, shape } of trainableParameters(config, lora)) values.set(name, g.input(name, shape));
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
