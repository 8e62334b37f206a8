/** Preference losses, their gradients and metrics as TRL 1.13 computes them, of fixed logprobs. */
import { describe, expect, it } from "vitest";
import {
  type Answer,
  type AnswerPair,
  cpoLoss,
  DpoLossType,
  dpoLoss,
  klEstimate,
  ktoLoss,
  orpoLoss,
  type PreferenceLoss,
  pairDatums,
  rewardLoss,
  scoreDatums,
  unpairedDatums,
  unpairedMetrics,
} from "../../src/algorithms/index.js";
import * as graph from "../../src/graph/index.js";
import { LOSSES } from "../../src/losses/index.js";
import type { Datum } from "../../src/protocol/index.js";
import { type PreferenceCase, readPreferenceCases } from "../golden/preference.js";
import { createRuntimes, runModel } from "../graph/run-model.js";
import { lossGraph, lossNumbers } from "./loss-graph.js";
import { largestGap } from "./tiny-models.js";

const { pairs, data, cases } = readPreferenceCases();
const runtimes = await createRuntimes();
const rows = data.current.map((_, row) => row);

/** Row r without padding; the token ids do not matter. */
function answerOf(row: number): Answer {
  const length = data.attention[row]!.reduce((a, b) => a + b, 0);
  const lossMask_T = [0, ...data.completion[row]!.slice(0, length)];
  const reference = data.reference[row]!.reduce(
    (sum, logprob, t) => sum + logprob * data.completion[row]![t]!,
    0,
  );
  return { tokens_T: lossMask_T.map(() => 0), lossMask_T, referenceLogprob: reference };
}

/** Sums of KTO's mismatched sequences. */
const sums = (logprobs: readonly (readonly number[])[]): number[] =>
  rows.map((row) => logprobs[row]!.reduce((sum, logprob, t) => sum + logprob * data.completion[row]![t]!, 0));

/** The loss, its datums, and for each datum the row whose numbers it has. */
function translated({ trainer, options, labels }: PreferenceCase): {
  readonly preference: PreferenceLoss;
  readonly datums: readonly Datum[];
  readonly rowOf: readonly number[];
} {
  const paired = Array.from({ length: pairs }, (_, pair) => [pair, pairs + pair]).flat();
  const answerPairs = Array.from(
    { length: pairs },
    (_, pair): AnswerPair => ({
      chosen: answerOf(pair),
      rejected: answerOf(pairs + pair),
      ...(options.margins ? { margin: data.margins[pair]! } : {}),
    }),
  );
  const { beta, label_smoothing: labelSmoothing } = options;
  const withPairs = (preference: PreferenceLoss) => {
    const answers = preference.needsReference
      ? answerPairs
      : answerPairs.map(({ chosen, rejected }) => ({ chosen: bare(chosen), rejected: bare(rejected) }));
    return { preference, datums: pairDatums(answers, preference), rowOf: paired };
  };
  switch (trainer) {
    case "dpo": {
      const lossType = options.loss_types.map((type) => DpoLossType.parse(type));
      return withPairs(dpoLoss({ lossType, lossWeights: [...options.loss_weights], beta, labelSmoothing }));
    }
    case "cpo": {
      const lossType = options.loss_type as "sigmoid" | "hinge" | "ipo" | "simpo"; // the script's own cases
      const { cpo_alpha: cpoAlpha, simpo_gamma: simpoGamma } = options;
      return withPairs(cpoLoss({ lossType, beta, labelSmoothing, cpoAlpha, simpoGamma }));
    }
    case "orpo":
      return withPairs(orpoLoss({ beta }));
    case "kto": {
      const preference = ktoLoss({
        lossType: options.loss_type as "kto" | "apo_zero_unpaired", // the script's own cases
        beta,
        desirableWeight: options.desirable_weight,
        undesirableWeight: options.undesirable_weight,
      });
      const kl = preference.needsKl ? klEstimate(sums(data.kl_current), sums(data.kl_reference)) : 0;
      const answers = rows.map((row) => ({ ...answerOf(row), isDesirable: labels![row] === 1 }));
      return { preference, datums: unpairedDatums(answers, { kl }), rowOf: rows };
    }
    case "reward":
      return {
        preference: rewardLoss({ centerRewardsCoefficient: options.center_rewards_coefficient }),
        datums: scoreDatums(answerPairs),
        rowOf: paired,
      };
  }
}

const bare = ({ tokens_T, lossMask_T }: Answer): Answer => ({ tokens_T, lossMask_T });

/** TRL's metrics of logits need logits, which nobody here holds; the rest have our names. */
const NOT_OURS = /^(entropy|num_tokens|logits\/|mean_token_accuracy)/;

function expectMetrics(
  example: PreferenceCase,
  ours: Readonly<Record<string, number>>,
  tolerance: number,
): void {
  const named =
    example.trainer === "kto"
      ? unpairedMetrics(ours)
      : Object.fromEntries(
          Object.entries(ours).map(([name, value]) => [name.slice(0, name.lastIndexOf(":")), value]),
        );
  const theirs = Object.entries(example.metrics).filter(([name]) => !NOT_OURS.test(name));
  for (const [name, value] of theirs) expect(Math.abs(named[name]! - value), name).toBeLessThan(tolerance);
  if (theirs.length > 0) expect(Object.keys(named).sort()).toEqual(theirs.map(([name]) => name).sort());
}

describe("fixed logprobs", () => {
  it.each(cases.map((example) => [`${example.trainer}: ${example.name}`, example] as const))(
    "%s: loss, gradient and metrics are TRL's",
    async (_title, example) => {
      const { preference, datums, rowOf } = translated(example);
      const loss = LOSSES[preference.lossFn];
      const readings = datums.map(({ modelInput }, d) => {
        const length = modelInput.chunks[0]!.tokens.length;
        return example.trainer === "reward"
          ? new Array<number>(length).fill(data.scores[rowOf[d]!]!)
          : data.current[rowOf[d]!]!.slice(0, length);
      });
      const built = lossGraph(loss, preference.lossFnConfig, datums, readings);
      const compare = (results: Readonly<Record<string, ArrayLike<number>>>, tolerance: number): void => {
        const { loss: total, gradient_D_T, metrics } = lossNumbers(built, results, readings);
        expect(Math.abs(total - example.loss)).toBeLessThan(tolerance);
        for (const [d, gradient_T] of gradient_D_T.entries()) {
          const expected = example.gradient[rowOf[d]!]!;
          const actual =
            example.trainer === "reward"
              ? [gradient_T.reduce((a, b) => a + b, 0)]
              : expected.map((_, t) => gradient_T[t] ?? 0);
          expect(largestGap(actual, expected), `row ${rowOf[d]}`).toBeLessThan(tolerance);
        }
        expectMetrics(example, metrics, 10 * tolerance);
      };
      const { outputs, arrays } = built;
      const exact = graph.evaluate({ outputs }, arrays);
      // TRL takes ORPO's log odds in float32; all else is float64 on both sides, and the file has nine digits.
      compare(
        Object.fromEntries(Object.entries(exact).map(([name, { data: values }]) => [name, values])),
        example.trainer === "orpo" ? 1e-6 : 1e-7,
      );
      const inputs = Object.fromEntries(
        Object.entries(arrays).map(([name, array]) => [
          name,
          { dtype: name === "sequences" ? ("int64" as const) : ("float32" as const), array },
        ]),
      );
      for (const { lowering, runtime } of runtimes)
        compare(await runModel(runtime, graph.compile({ outputs }, { lowering }), inputs), 1e-5);
    },
  );

  it("the cases have something to say: a hinge is slack and another not, answers differ in length, the KL is positive", () => {
    const hinge = cases.find(({ name }) => name === "hinge that binds")!;
    const silent = hinge.gradient.filter((row) => row.every((value) => value === 0)).length;
    expect(silent).toBeGreaterThan(0);
    expect(silent).toBeLessThan(rows.length);
    const counts = data.completion.map((row) => row.reduce((a, b) => a + b, 0));
    expect(counts.slice(0, pairs).some((count, pair) => count > counts[pairs + pair]!)).toBe(true);
    expect(counts.slice(0, pairs).some((count, pair) => count < counts[pairs + pair]!)).toBe(true);
    expect(klEstimate(sums(data.kl_current), sums(data.kl_reference))).toBeGreaterThan(0.1);
    expect(cases.filter(({ gradient }) => gradient.flat().every((value) => value === 0))).toEqual([]);
  });
});
