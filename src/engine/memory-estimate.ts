/** What a training step will need, before anything large is allocated. */
import { type Lowering, optimise, peakBytes } from "../graph/index.js";
import { LOSSES } from "../losses/index.js";
import { frozenParameters, type Parameter, trainableParameters } from "../nn/index.js";
import { sizeOf } from "../tensor/index.js";
import type { EngineOptions } from "./options.js";
import { withHead } from "./reward-head.js";
import { plansMemory, resolveSpec } from "./spec.js";
import { type ModelSpec, trainingGraph } from "./training-graph.js";
import { openWeightSource } from "./weight-source.js";

/** Bytes by what they are for. */
export interface MemoryEstimate {
  readonly frozenWeights: number;
  /** Trainable parameters, their gradients and AdamW's two moments. */
  readonly trainable: number;
  /** Activations and temporaries of one micro-batch, twice where sessions plan their memory. */
  readonly activations: number;
  /** The process itself: Node and onnxruntime. */
  readonly program: number;
  readonly total: number;
}

/** Seen for a process that has loaded everything but a model: Node, onnxruntime and a worker thread. */
const PROGRAM_BYTES = 160e6;

export interface EstimateShape {
  /** Tokens of one micro-batch (shared ones count once), those of them with a loss, and the longest sequence. */
  readonly tokens: number;
  readonly supervised: number;
  readonly longest: number;
  /** The same tokens with shared ones counted for each sequence: what stock operators' attention holds. @default tokens */
  readonly rowTokens?: number;
}

/** Opens the model's headers but reads no weights. */
export function estimateMemory(options: EngineOptions, shape: EstimateShape): MemoryEstimate {
  const source = withHead(openWeightSource(options.model), options);
  try {
    return estimateSpec(resolveSpec(options, source, loweringOf(options)).spec, options, shape);
  } finally {
    source.close();
  }
}

function estimateSpec(
  spec: ModelSpec,
  options: EngineOptions,
  { tokens, supervised, longest, rowTokens = tokens }: EstimateShape,
): MemoryEstimate {
  const trained = trainableParameters(spec.config, spec.lora);
  const trainable = 16 * elements(trained);
  const frozenWeights = frozenParameters(spec.config, spec.lora).reduce(
    (total, parameter) => total + frozenBytes(parameter, spec),
    0,
  );
  const lowering = loweringOf(options);
  const isReward = spec.config.head === "score";
  // The native lowering is the one whose graph says what is really kept; stock operators need more for attention.
  const graph = trainingGraph(spec, {
    lowering,
    loss: isReward ? LOSSES.bradley_terry : LOSSES.cross_entropy,
    lossConfig: isReward ? LOSSES.bradley_terry.defaults : {},
    uniform: false,
    trainable: trained.map(({ name }) => name),
    gradientCheckpointing: options.gradientCheckpointing ?? false,
  });
  const recompute =
    options.gradientCheckpointing === true
      ? { recomputeBehind: ["loss", isReward ? "scores" : "logprobs", "elementwise"] }
      : {};
  const rows = Math.ceil(rowTokens / longest);
  const bindings = { T: tokens, S: supervised, B: rows, L: longest, P: longest };
  // Our transport writes gradients into the optimizer's memory, which `trainable` counts; the stock one copies them there.
  const onePass = peakBytes(optimise(graph, { lowering, ...recompute }), bindings, {
    outputsElsewhere: options.runtime !== "cpu",
  });
  const activations = plansMemory(spec, options) ? 2 * onePass : onePass;
  return {
    frozenWeights,
    trainable,
    activations,
    program: PROGRAM_BYTES,
    total: frozenWeights + trainable + activations + PROGRAM_BYTES,
  };
}

const loweringOf = ({ runtime }: EngineOptions): Lowering => (runtime === "cpu" ? "cpu" : "native");

function frozenBytes({ name, shape, role }: Parameter, { quantised, bfloat16 }: ModelSpec): number {
  const size = sizeOf(shape);
  if (bfloat16.has(name)) return 2 * size;
  if (quantised === null || role !== "projection") return 4 * size;
  return size / 2 + (size / quantised.block) * (quantised.zeroPoints ? 5 : 4);
}

const elements = (parameters: readonly Parameter[]): number =>
  parameters.reduce((total, { shape }) => total + sizeOf(shape), 0);
