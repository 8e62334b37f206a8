/** Heads, adapters, initialisation and rotary tables: the parts of nn/ that the golden models do not pin down. */
import { describe, expect, it } from "vitest";
import { Random, UserError } from "../../src/base/index.js";
import { TrainingEngine } from "../../src/engine/index.js";
import * as graph from "../../src/graph/index.js";
import {
  initialiseLora,
  initialiseParameter,
  inverseFrequencies,
  loraParameters,
  loraScaling,
  PROJECTIONS,
  parametersOf,
  parseModelConfig,
  type RopeConfig,
  resolveTargets,
  rewardHead,
  ropeTables,
  valueHead,
} from "../../src/nn/index.js";
import { createRuntimes, runModel } from "../graph/run-model.js";
import { ADAM, largestGap, randomDatums, TINY_CONFIG, temporaryFolder } from "./tiny-models.js";

const runtimes = await createRuntimes();
const folder = temporaryFolder();

describe("heads", () => {
  const [T, C] = [7, 5];
  const random = new Random(1);
  const real = (...shape: number[]) => ({
    shape,
    data: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal()),
  });
  const arrays = { hidden: real(T, C), weight: real(1, C), bias: real(1) };
  const ends = { shape: [3], data: Float64Array.of(2, 3, 6) };
  const hidden = graph.input("hidden", [T, C]);
  const weight = graph.input("weight", [1, C]);
  const bias = graph.input("bias", [1]);
  const values = valueHead(hidden, weight, bias);
  const scores = rewardHead(hidden, weight, graph.input("ends", [3], "int64"));
  const all = { ...arrays, ends };
  const dot = (t: number): number =>
    Array.from({ length: C }, (_, c) => arrays.hidden.data[t * C + c]! * arrays.weight.data[c]!).reduce(
      (a, b) => a + b,
      0,
    );

  it("valueHead() gives each token its own number, rewardHead() each sequence that of its last token", () => {
    const results = graph.evaluate({ outputs: { values, scores } }, all);
    expect(results["values"]!.shape).toEqual([T]);
    expect(results["scores"]!.shape).toEqual([3]);
    const wanted = Array.from({ length: T }, (_, t) => dot(t) + arrays.bias.data[0]!);
    expect(largestGap(results["values"]!.data, wanted)).toBeLessThan(1e-12);
    expect(largestGap(results["scores"]!.data, [dot(2), dot(3), dot(6)])).toBeLessThan(1e-12);
  });

  it("both differentiate to central differences, and only the last tokens feel the reward", () => {
    const squares = (value: graph.Value): graph.Value => graph.sumAll(graph.mul(value, value));
    expect(
      graph.relativeGap(graph.checkGradient(squares(values), { hidden, weight, bias }, all)),
    ).toBeLessThan(1e-6);
    expect(graph.relativeGap(graph.checkGradient(squares(scores), { hidden, weight }, all))).toBeLessThan(
      1e-6,
    );
    const [dHidden] = graph.gradient(squares(scores), [hidden]);
    const { data } = graph.evaluate({ outputs: { dHidden: dHidden! } }, all)["dHidden"]!;
    for (let t = 0; t < T; t++) {
      const row = data.subarray(t * C, (t + 1) * C);
      expect(
        row.some((value) => value !== 0),
        `token ${t}`,
      ).toBe([2, 3, 6].includes(t));
    }
  });

  it.each(runtimes.map((entry) => [entry.lowering, entry] as const))(
    "both run on %s",
    async (lowering, entry) => {
      const total = graph.add(
        graph.sumAll(graph.mul(values, values)),
        graph.sumAll(graph.mul(scores, scores)),
      );
      const [dWeight] = graph.gradient(total, [weight]);
      const outputs = { values, scores, dWeight: dWeight! };
      const expected = graph.evaluate({ outputs }, all);
      const actual = await runModel(entry.runtime, graph.compile({ outputs }, { lowering }), {
        ...Object.fromEntries(
          Object.entries(arrays).map(([name, array]) => [name, { dtype: "float32" as const, array }]),
        ),
        ends: { dtype: "int64", array: ends },
      });
      for (const [name, { data }] of Object.entries(expected))
        expect(largestGap(actual[name]!, data), name).toBeLessThan(2e-5);
    },
  );
});

describe("LoRA", () => {
  it.each(["native", "cpu"] as const)(
    "with B = 0 changes no bit of a logprob, with %s operators",
    async (runtime) => {
      const model = { config: TINY_CONFIG, seed: 1 };
      const datums = randomDatums(2, [6, 9]);
      const outputs = [];
      for (const options of [
        {},
        { lora: { rank: 4, alpha: 64 } },
        { lora: { rank: 1, alpha: 1, targets: ["v_proj"] } },
      ]) {
        const engine = await TrainingEngine.create({ model, runtime, ...options });
        outputs.push(await engine.forward(datums, "cross_entropy"));
        await engine.close();
      }
      expect(outputs[1]).toEqual(outputs[0]);
      expect(outputs[2]).toEqual(outputs[0]);
    },
  );

  it("trains its own matrices and leaves the base alone", async () => {
    const engine = await TrainingEngine.create({
      model: { config: TINY_CONFIG, seed: 1 },
      lora: { rank: 2, alpha: 4, targets: ["q_proj", "mlp.down_proj"] },
    });
    // Per layer: q 2·32 + 32·2, down 2·64 + 32·2.
    expect(engine.info.trainableParameters).toBe(2 * (128 + 192));
    const untrained = await engine.nextLogits([5, 6]);
    engine.saveWeights(folder);
    for (let step = 0; step < 2; step++) {
      await engine.forwardBackward(randomDatums(3, [8]), "cross_entropy");
      engine.optimStep(ADAM);
    }
    expect(largestGap(await engine.nextLogits([5, 6]), untrained)).toBeGreaterThan(1e-4);
    // With the first adapter back, whose B is zero, only a changed base could make a difference.
    engine.loadWeights(folder);
    expect(await engine.nextLogits([5, 6])).toEqual(untrained);
    await engine.close();
  });

  it("resolveTargets() takes names, paths and all-linear, in the model's order", () => {
    expect(resolveTargets("all-linear", "x")).toEqual([...PROJECTIONS]);
    expect(resolveTargets(["down_proj", "q_proj", "self_attn.q_proj"], "x")).toEqual([
      "self_attn.q_proj",
      "mlp.down_proj",
    ]);
    expect(resolveTargets("v_proj", "x")).toEqual(["self_attn.v_proj"]);
    for (const bad of ["proj", "_proj", "lm_head", "Q_PROJ", ""])
      expect(() => resolveTargets([bad], "adapter.yaml"), bad).toThrow(
        new UserError(
          `Cannot place adapters of adapter.yaml: target module "${bad}" is unknown, expected "all-linear" or some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj`,
        ),
      );
  });

  it("scales by alpha over the rank, or over its root", () => {
    const lora = { rank: 16, alpha: 32, rsLora: false, targets: [] };
    expect(loraScaling(lora)).toBe(2);
    expect(loraScaling({ ...lora, rsLora: true })).toBe(8);
  });

  it("starts with B zero and A uniform in ±1/√in, another draw for every matrix and seed", () => {
    const config = parseModelConfig({ ...TINY_CONFIG, hidden_size: 256, num_attention_heads: 4 }, "test");
    const [a, b, other] = loraParameters(config, {
      rank: 64,
      alpha: 1,
      rsLora: false,
      targets: ["self_attn.q_proj", "self_attn.v_proj"],
    });
    const filled = (parameter: NonNullable<typeof a>, seed: number): Float32Array => {
      const values = new Float32Array(parameter.shape[0]! * parameter.shape[1]!).fill(7);
      initialiseLora(parameter, values, seed);
      return values;
    };
    expect(filled(b!, 0).every((value) => value === 0)).toBe(true);
    const values = filled(a!, 0);
    const bound = 1 / 16;
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(bound);
    expect(Math.max(...values)).toBeGreaterThan(0.99 * bound);
    // Variance of a uniform: bound² / 3, within three standard errors (√(4/45)·bound² / √n).
    const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
    expect(Math.abs(variance / bound ** 2 - 1 / 3)).toBeLessThan(
      (3 * Math.sqrt(4 / 45)) / Math.sqrt(values.length),
    );
    expect(filled(a!, 0)).toEqual(values);
    expect(filled(a!, 1)).not.toEqual(values);
    expect(filled(other!, 0)).not.toEqual(values);
  });
});

describe("initialiseParameter()", () => {
  const config = parseModelConfig(
    { ...TINY_CONFIG, hidden_size: 128, initializer_range: 0.05, attention_bias: true },
    "test",
  );
  const filled = (name: string, seed = 4): Float32Array => {
    const parameter = parametersOf(config).find((candidate) => candidate.name === name)!;
    const values = new Float32Array(parameter.shape.reduce((a, b) => a * b, 1)).fill(7);
    initialiseParameter(config, parameter, values, seed);
    return values;
  };

  it("makes norms 1, biases 0 and matrices normal with the config's deviation", () => {
    expect(new Set(filled("model.norm.weight"))).toEqual(new Set([1]));
    expect(new Set(filled("model.layers.1.self_attn.q_proj.bias"))).toEqual(new Set([0]));
    const values = filled("model.layers.0.self_attn.q_proj.weight");
    const n = values.length;
    const moment = (power: number): number =>
      values.reduce((sum, value) => sum + (value / 0.05) ** power, 0) / n;
    // Standard errors of the first four moments of a normal: 1, √2, √15, √96 over √n; four of them.
    expect(Math.abs(moment(1))).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan((4 * Math.SQRT2) / Math.sqrt(n));
    expect(Math.abs(moment(3))).toBeLessThan((4 * Math.sqrt(15)) / Math.sqrt(n));
    expect(Math.abs(moment(4) - 3)).toBeLessThan((4 * Math.sqrt(96)) / Math.sqrt(n));
    // Neighbours come from one Box–Muller pair and must not be correlated.
    const neighbours = values.reduce((sum, value, i) => sum + (value * (values[i + 1] ?? 0)) / 0.0025, 0) / n;
    expect(Math.abs(neighbours)).toBeLessThan(4 / Math.sqrt(n));
  });

  it("gives each parameter its own stream", () => {
    const values = filled("model.layers.0.self_attn.q_proj.weight");
    expect(filled("model.layers.0.self_attn.q_proj.weight")).toEqual(values);
    expect(filled("model.layers.1.self_attn.q_proj.weight")).not.toEqual(values);
    expect(filled("model.layers.0.self_attn.q_proj.weight", 5)).not.toEqual(values);
  });
});

describe("ropeTables()", () => {
  const dynamic: RopeConfig = { type: "dynamic", factor: 4, theta: 10_000, headWidth: 8, maxPositions: 16 };
  /** Cosines of one sequence, as the tables of a batch hold them. */
  const rowsOf = (config: RopeConfig, lengths: readonly number[], sequence: number): Float32Array => {
    const { cos, firstRows } = ropeTables(config, lengths);
    const half = config.headWidth / 2;
    const first = firstRows[sequence]! * half;
    return cos.subarray(first, first + lengths[sequence]! * half);
  };

  it("a stretched sequence has the same angles alone and in any batch", () => {
    const lengths = [5, 40, 16, 17, 40, 90];
    for (const [i, length] of lengths.entries())
      expect(rowsOf(dynamic, lengths, i), `length ${length}`).toEqual(rowsOf(dynamic, [length], 0));
  });

  it("sequences within the model's positions share the plain table", () => {
    const plain: RopeConfig = { ...dynamic, type: "default" };
    expect(rowsOf(dynamic, [16, 100], 0)).toEqual(rowsOf(plain, [16], 0));
    expect(rowsOf(dynamic, [17, 16], 0)).not.toEqual(rowsOf(plain, [17], 0));
    const { firstRows, rows } = ropeTables(plain, [4, 9, 2]);
    expect(firstRows).toEqual([0, 0, 0]);
    expect(rows).toBe(9);
  });

  it("holds cos and sin of position · frequency", () => {
    const frequencies = inverseFrequencies({ ...dynamic, type: "default" }, 3);
    // θ^(−2i/8) for i = 0 … 3.
    expect(largestGap(frequencies, [1, 0.1, 0.01, 0.001])).toBeLessThan(1e-15);
    const { cos, sin } = ropeTables({ ...dynamic, type: "default" }, [3]);
    expect(cos[2 * 4 + 1]).toBeCloseTo(Math.cos(0.2), 7);
    expect(sin[2 * 4]).toBeCloseTo(Math.sin(2), 7);
    // Linear scaling by 4 is the table read at a quarter of the position.
    const linear = ropeTables({ ...dynamic, type: "linear" }, [9]);
    expect(linear.cos[8 * 4]).toBeCloseTo(Math.cos(2), 7);
    // Dynamic at twice the context with factor 4: θ · (4 · 2 − 3)^(8/6).
    const stretched = inverseFrequencies(dynamic, 32);
    expect(stretched[1]).toBeCloseTo((10_000 * 5 ** (8 / 6)) ** (-2 / 8), 12);
  });
});
