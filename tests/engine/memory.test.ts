/** What gradient checkpointing saves and what the estimate counts, from the graphs alone. */
import { describe, expect, it } from "vitest";
import { type EngineOptions, estimateMemory } from "../../src/engine/index.js";
import { resolveSpec } from "../../src/engine/spec.js";
import { trainingGraph } from "../../src/engine/training-graph.js";
import { openWeightSource } from "../../src/engine/weight-source.js";
import { type Lowering, optimise, peakBytes } from "../../src/graph/index.js";
import { LOSSES } from "../../src/losses/index.js";
import { parameterCount, parametersOf, parseModelConfig } from "../../src/nn/index.js";
import { TINY_CONFIG } from "./tiny-models.js";

const CONFIG = {
  ...TINY_CONFIG,
  vocab_size: 1000,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 12,
  max_position_embeddings: 1024,
};
const config = parseModelConfig(CONFIG, "test");
const model = { config: CONFIG, seed: 0 };
const TOKENS = 512;

function activationBytes(lowering: Lowering, gradientCheckpointing: boolean): number {
  const { spec } = resolveSpec({ model }, openWeightSource(model));
  const parameters = parametersOf(config);
  const graph = trainingGraph(spec, {
    lowering,
    loss: LOSSES.cross_entropy,
    lossConfig: {},
    uniform: false,
    trainable: parameters.map(({ name }) => name),
    gradientCheckpointing,
  });
  const recompute = gradientCheckpointing ? { recomputeBehind: ["loss", "logprobs", "elementwise"] } : {};
  const bindings = { T: TOKENS, S: TOKENS, B: 2, L: TOKENS / 2, P: TOKENS / 2 };
  const optimised = optimise(graph, { lowering, ...recompute });
  return peakBytes(optimised, bindings, { outputsElsewhere: true });
}

describe("gradient checkpointing", () => {
  it.each<[Lowering, number]>([
    ["native", 0.35],
    ["cpu", 0.25],
  ])("keeps little more than one layer's activations on %s", (lowering, share) => {
    const [plain, checkpointed] = [activationBytes(lowering, false), activationBytes(lowering, true)];
    expect(checkpointed / plain).toBeLessThan(share);
    // What must stay: the residual stream between the layers.
    expect(checkpointed).toBeGreaterThan(4 * TOKENS * config.hiddenSize * config.layers);
  });
});

describe("estimateMemory()", () => {
  const shape = { tokens: TOKENS, supervised: TOKENS, longest: TOKENS / 2 };
  const estimate = (options: Omit<EngineOptions, "model">) => estimateMemory({ model, ...options }, shape);

  it("counts parameters, gradients and two moments of what is trained", () => {
    const { frozenWeights, trainable, activations, program, total } = estimate({});
    expect(trainable).toBe(16 * parameterCount(config));
    expect(frozenWeights).toBe(0);
    expect(total).toBe(frozenWeights + trainable + activations + program);
  });

  it("counts an adapter alone as trained, and a frozen base by its width", () => {
    const lora = { rank: 8, alpha: 16, targets: ["q_proj"] };
    const float = estimate({ lora });
    // A is [8, 128] and B is [128, 8] in each of 12 layers.
    expect(float.trainable).toBe(16 * 12 * 2 * 8 * 128);
    expect(float.frozenWeights).toBe(4 * parameterCount(config));
    const projections = parametersOf(config)
      .filter(({ role }) => role === "projection")
      .reduce((sum, { shape: [rows, columns] }) => sum + rows! * columns!, 0);
    const rest = 4 * (parameterCount(config) - projections);
    // Half a byte per weight and a float32 scale per block; with zero points a byte more per block.
    expect(estimate({ lora, quantise: {} }).frozenWeights).toBe(rest + projections * (0.5 + 4 / 32));
    expect(estimate({ lora, quantise: { symmetric: false } }).frozenWeights).toBe(
      rest + projections * (0.5 + 5 / 32),
    );
  });

  it("counts shared tokens for each sequence where attention is on rows, and there alone", () => {
    const grown = (runtime: "native" | "cpu"): number => {
      const shared = estimateMemory({ model, runtime }, { ...shape, rowTokens: 4 * TOKENS });
      return shared.activations / estimate({ runtime }).activations;
    };
    expect(grown("native")).toBe(1);
    expect(grown("cpu")).toBeGreaterThan(1.1);
  });

  it("grows with the tokens, and less with gradient checkpointing", () => {
    const half = estimateMemory(
      { model },
      { tokens: TOKENS / 2, supervised: TOKENS / 2, longest: TOKENS / 2 },
    );
    expect(estimate({}).activations / half.activations).toBeGreaterThan(1.6);
    expect(estimate({ gradientCheckpointing: true }).activations).toBeLessThan(
      0.4 * estimate({}).activations,
    );
  });
});
