/** From rewards to gradients as TRL 1.13 computes them: every algorithm, of fixed logprobs and through a model. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  ALGORITHMS,
  type AlgorithmName,
  type PolicyBatch,
  type PolicySequence,
  type PolicySettings,
  policyBatch,
  settingsOf,
} from "../../src/algorithms/index.js";
import { zip } from "../../src/base/index.js";
import { TrainingEngine } from "../../src/engine/index.js";
import * as graph from "../../src/graph/index.js";
import { LOSSES } from "../../src/losses/index.js";
import type { Datum } from "../../src/protocol/index.js";
import {
  readGoldenModel,
  readGoldenTrlLosses,
  readGoldenTrlModel,
  summaryOf,
  type TrlData,
  type TrlOptions,
} from "../golden/read.js";
import { createRuntimes, runModel } from "../graph/run-model.js";
import { largestGap, takeGradients, temporaryFolder } from "./tiny-models.js";

const golden = readGoldenTrlLosses();
const runtimes = await createRuntimes();

/** TRL's options in our words. */
function translated(options: TrlOptions): {
  readonly name: AlgorithmName;
  readonly settings: PolicySettings;
} {
  const name = options.importance_sampling_level === "sequence" ? "gspo" : options.loss_type;
  return {
    name,
    settings: settingsOf(name, {
      scaleRewards: options.scale_rewards,
      multiObjectiveAggregation: options.multi_objective_aggregation,
      normalizeAdvantages: options.normalize_advantages,
      epsilon: options.epsilon,
      epsilonHigh: options.epsilon_high,
      delta: options.delta,
      beta: options.beta,
      useBiasCorrectionKl: options.use_bias_correction_kl,
      entropyCoef: options.entropy_coef,
      maxCompletionLength: options.max_completion_length,
      importanceCorrection: options.vllm_importance_sampling_correction
        ? options.vllm_importance_sampling_mode
        : "off",
      importanceMax: options.vllm_importance_sampling_clip_max,
      importanceMin: options.vllm_importance_sampling_clip_min,
      maskTruncatedCompletions: options.mask_truncated_completions,
    }),
  };
}

/** The rows as rollouts after `prompt`, without padding, in groups. */
function groupsOf(data: TrlData, group: number, idsOf: (row: number) => readonly number[], prompt: number) {
  const rows = data.rewards.map((rewards, row): PolicySequence => {
    const length = data.completion_mask[row]!.reduce((a, b) => a + b, 0);
    const aligned = (values: readonly number[]): number[] => [
      ...new Array<number>(prompt).fill(0),
      ...values.slice(0, length),
    ];
    const parts = zip(rewards, data.reward_weights).map(([score, weight]) => ({ score, weight }));
    return {
      tokens_T: idsOf(row).slice(0, prompt + length),
      sampled_T: aligned(data.tool_mask[row]!),
      samplingLogprobs_T: aligned(data.sampling[row]!),
      trainingLogprobs_T: aligned(data.old[row]!),
      referenceLogprobs_T: aligned(data.reference[row]!),
      reward: parts.reduce((total, { score, weight }) => total + score * weight, 0),
      components: Object.fromEntries(parts.map((part, k) => [`reward${k}`, part])),
      isTruncated: data.is_truncated[row] === 1,
    };
  });
  return Array.from({ length: rows.length / group }, (_, p) => rows.slice(p * group, (p + 1) * group));
}

/** In losses.json a row's prompt is one token, its own number, so that a datum says which row it is. */
const rowOf = (datum: Datum): number => datum.modelInput.chunks[0]!.tokens[0]!;

/** The loss of one optimizer step as a graph, with its numbers; `places` says which row and column a token is. */
function stepGraph(datums: readonly Datum[], { lossFn, lossFnConfig }: PolicyBatch) {
  const loss = LOSSES[lossFn];
  const places = datums.flatMap((datum) =>
    datum.lossFnInputs["weights"]!.data.map((_, column) => ({ row: rowOf(datum), column })),
  );
  const shape = [places.length];
  const values = {
    trainingLogprobs: places.map(({ row, column }) => golden.data.current[row]![column]!),
    entropies: places.map(({ row, column }) => golden.data.entropies[row]![column]!),
    ...Object.fromEntries(
      loss.inputs.map((name) => [
        name,
        datums.flatMap(
          ({ lossFnInputs: { weights, [name]: given } }) =>
            given?.data ?? weights!.data.map(() => loss.optional[name]!),
        ),
      ]),
    ),
  };
  const node = (name: string) => graph.input(name, shape);
  const [logprobs, entropy_S] = [node("trainingLogprobs"), node("entropies")];
  const elementwise = loss.perToken({
    trainingLogprobs_S: logprobs,
    inputs: Object.fromEntries(loss.inputs.map((name) => [name, node(name)])),
    sequences_S: graph.input("sequences", shape, "int64"),
    entropy_S,
    config: { ...loss.defaults, ...lossFnConfig },
  });
  const total = graph.sumAll(elementwise);
  const [gradient, entropyGradient] = graph.gradient(total, [logprobs, entropy_S]);
  const ranks = datums.flatMap((datum, rank) => datum.lossFnInputs["weights"]!.data.map(() => rank));
  return {
    places,
    outputs: { total, gradient: gradient!, entropyGradient: entropyGradient! },
    inputs: {
      ...Object.fromEntries(
        Object.entries(values).map(([name, data]) => [
          name,
          { dtype: "float32" as const, array: { shape, data: Float64Array.from(data) } },
        ]),
      ),
      sequences: { dtype: "int64" as const, array: { shape, data: Float64Array.from(ranks) } },
    },
  };
}

describe("fixed logprobs", () => {
  it.each(golden.cases.map((example) => [example.name, example] as const))(
    "%s: advantages, loss and gradient are TRL's",
    async (_name, { options, advantages, steps }) => {
      const { name, settings } = translated(options);
      const groups = groupsOf(golden.data, golden.group, (row) => [row, ...new Array<number>(99).fill(0)], 1);
      const batch = policyBatch(groups, { algorithm: ALGORITHMS[name], settings, steps: steps.length });
      // Both are float64, and the file has nine digits.
      expect(largestGap(batch.advantages_P_G.flat() as number[], advantages)).toBeLessThan(1e-7);
      for (const [step, expected] of steps.entries()) {
        const datums = batch.datums_steps[step]!;
        const rowsBefore = (step * golden.data.rewards.length) / steps.length;
        const { places, outputs, inputs } = stepGraph(datums, batch);
        const arrays = Object.fromEntries(Object.entries(inputs).map(([key, { array }]) => [key, array]));
        const exact = graph.evaluate({ outputs }, arrays);
        const compare = (actual: (name: keyof typeof outputs) => ArrayLike<number>, tolerance: number) => {
          expect(Math.abs(actual("total")[0]! - expected.loss)).toBeLessThan(tolerance);
          for (const [key, rows] of [
            ["gradient", expected.gradient],
            ["entropyGradient", expected.entropyGradient],
          ] as const) {
            const ours = rows.map((row) => row.map(() => 0));
            places.forEach(({ row, column }, i) => {
              ours[row - rowsBefore]![column] = actual(key)[i]!;
            });
            expect(largestGap(ours.flat(), rows.flat())).toBeLessThan(tolerance);
          }
        };
        compare((key) => exact[key]!.data, 1e-7);
        for (const { lowering, runtime } of runtimes) {
          const results = await runModel(runtime, graph.compile({ outputs }, { lowering }), inputs);
          compare((key) => results[key]!, 1e-5);
        }
      }
    },
  );

  it("the cases have something to say: clips bind on both sides, completions are masked, a group has no spread", () => {
    const { completion_mask, tool_mask, is_truncated, rewards, current, old } = golden.data;
    const ratios = current.flatMap((row, i) =>
      row.flatMap((logprob, t) => (completion_mask[i]![t] === 0 ? [] : [Math.exp(logprob - old[i]![t]!)])),
    );
    expect(ratios.filter((ratio) => ratio < 0.8).length).toBeGreaterThan(5);
    expect(ratios.filter((ratio) => ratio > 1.28).length).toBeGreaterThan(5);
    expect(tool_mask.flat().filter((value) => value === 0).length).toBeGreaterThan(5);
    expect(is_truncated.includes(1)).toBe(true);
    expect(new Set(rewards.slice(-golden.group).map(String)).size).toBe(1);
    const silent = golden.cases.filter(({ steps }) =>
      steps.every(({ gradient }) => gradient.flat().every((value) => value === 0)),
    );
    expect(silent.map(({ name }) => name)).toEqual([]);
  });
});

describe("through a model", () => {
  const { cases, data, group, ids, model } = readGoldenTrlModel();
  const folder = temporaryFolder();
  const FROM_TRL: readonly (readonly [string, string])[] = [
    ["entropy", "entropy:mean"],
    ["kl", "kl:mean"],
    ["clip_ratio/low_mean", "clip_ratio/low:mean"],
    ["clip_ratio/low_min", "clip_ratio/low:sequence_min"],
    ["clip_ratio/high_mean", "clip_ratio/high:mean"],
    ["clip_ratio/high_max", "clip_ratio/high:sequence_max"],
    ["clip_ratio/region_mean", "clip_ratio/region:mean"],
    ["cispo_clip_ratio", "clip_ratio/high:mean"],
  ];

  describe.each(["native", "cpu"] as const)("with %s operators", (runtime) => {
    it.each(cases.map((example) => [example.name, example] as const))(
      "%s: loss, all gradients and metrics are TRL's",
      async (_name, { options, old, reference, loss, gradients, metrics }) => {
        const { name, settings } = translated(options);
        // TRL's RLOO knows no forced tokens.
        const tool_mask = name === "rloo" ? data.completion_mask : data.tool_mask;
        const groups = groupsOf({ ...data, tool_mask, old, reference }, group, (row) => ids[row]!, 5);
        const { datums_steps, lossFn, lossFnConfig } = policyBatch(groups, {
          algorithm: ALGORITHMS[name],
          settings,
          dropsIdle: false,
        });
        const engine = await TrainingEngine.create({
          model: readGoldenModel(model).folder,
          runtime,
          microBatchTokens: 60,
        });
        const result = await engine.forwardBackward(datums_steps[0]!, lossFn, {
          lossFnConfig,
          temperature: options.temperature,
        });
        // The engine is float32; transformers' own float32 is as far from these float64 numbers.
        expect(Math.abs(result.metrics["loss:sum"]! - loss)).toBeLessThan(1e-5);
        const actual = takeGradients(engine, mkdtempSync(join(folder, "gradients-"))).gradients;
        await engine.close();
        expect([...actual.keys()].sort()).toEqual(Object.keys(gradients).sort());
        for (const [parameter, expected] of Object.entries(gradients)) {
          const summary = summaryOf(expected.shape, actual.get(parameter)!.data);
          const tolerance = 2e-5 * expected.norm + 1e-7;
          expect(Math.abs(summary.norm - expected.norm), parameter).toBeLessThan(tolerance);
          expect(Math.abs(summary.projection - expected.projection), parameter).toBeLessThan(tolerance);
          expect(largestGap(summary.values, expected.values), parameter).toBeLessThan(tolerance);
        }
        // A whole sequence is clipped or not: TRL then counts sequences, we their tokens.
        const bySequence = name === "gspo" || name === "rloo";
        for (const [theirs, ours] of FROM_TRL) {
          if (metrics[theirs] === undefined || (bySequence && theirs.startsWith("clip_ratio"))) continue;
          expect(Math.abs(result.metrics[ours]! - metrics[theirs]), theirs).toBeLessThan(1e-5);
        }
      },
    );
  });
});
