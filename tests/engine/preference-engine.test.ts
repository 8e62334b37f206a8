/** Preference losses on the engine: no split parts a pair or changes a gradient, one kind of answer will do, and what is refused. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type AnswerPair,
  answerLogprobs,
  dpoLoss,
  klEstimate,
  ktoLoss,
  mismatchedDatums,
  orpoLoss,
  type PreferenceLoss,
  pairDatums,
  unpairedDatums,
} from "../../src/algorithms/index.js";
import { Random, UserError } from "../../src/base/index.js";
import { TrainingEngine } from "../../src/engine/index.js";
import type { Datum, LossFnConfig } from "../../src/protocol/index.js";
import {
  ADAM,
  largestGap,
  largestRelativeGap,
  TINY_CONFIG,
  takeGradients,
  temporaryFolder,
} from "./tiny-models.js";

describe("on the engine", () => {
  const folder = temporaryFolder();
  const model = { config: TINY_CONFIG, seed: 3 };
  const gradientsOf = (engine: TrainingEngine) =>
    takeGradients(engine, mkdtempSync(join(folder, "gradients-"))).gradients;

  /** Pairs whose prompts are long enough to be shared; every other pair has its neighbour's prompt. */
  function tokenPairs(seed: number, count: number, answers = 8): AnswerPair[] {
    const random = new Random(seed);
    const ids = (length: number): number[] =>
      Array.from({ length }, () => random.integer(TINY_CONFIG.vocab_size));
    let prompt = ids(18);
    return Array.from({ length: count }, (_, i) => {
      if (i % 2 === 0) prompt = ids(17 + random.integer(8));
      const member = () => {
        const answer = ids(1 + random.integer(answers));
        return {
          tokens_T: [...prompt, ...answer],
          lossMask_T: [...prompt.map(() => 0), ...answer.map(() => 1)],
          referenceLogprob: -3.5 * answer.length,
        };
      };
      return { chosen: member(), rejected: member() };
    });
  }
  const unreferenced = (pairs: readonly AnswerPair[]): AnswerPair[] =>
    pairs.map(({ chosen, rejected }) => {
      const { referenceLogprob: _c, ...won } = chosen;
      const { referenceLogprob: _r, ...lost } = rejected;
      return { chosen: won, rejected: lost };
    });

  const FORMS: readonly (readonly [string, PreferenceLoss, (pairs: readonly AnswerPair[]) => Datum[]])[] = [
    [
      "dpo",
      dpoLoss({ lossType: ["sigmoid", "ipo", "sft"] }),
      (pairs) => pairDatums(pairs, { nll: "answer" }),
    ],
    ["orpo", orpoLoss({ beta: 1 }), (pairs) => pairDatums(unreferenced(pairs), { nll: "sequence" })],
    [
      "kto",
      ktoLoss({ beta: 0.3 }),
      (pairs) =>
        unpairedDatums(
          pairs.flatMap(({ chosen, rejected }) => [
            { ...chosen, isDesirable: true },
            { ...rejected, isDesirable: false },
          ]),
          { kl: 0.4 },
        ),
    ],
  ];

  it.each(FORMS)(
    "%s: micro-batches of any size and shared prompts change nothing",
    async (_name, { lossFn, lossFnConfig }, datumsOf) => {
      const data = datumsOf(tokenPairs(5, 5));
      const results = [];
      for (const options of [
        { sharePrefixes: false },
        { microBatchTokens: 1 },
        { microBatchTokens: 60 },
        { microBatchTokens: 100, runtime: "cpu" as const },
        {},
      ]) {
        const engine = await TrainingEngine.create({ model, ...options });
        const { metrics, lossFnOutputs } = await engine.forwardBackward(data, lossFn, { lossFnConfig });
        results.push({
          metrics,
          elementwise: lossFnOutputs.map(({ elementwise_loss }) => elementwise_loss!.data),
          gradients: gradientsOf(engine),
        });
        await engine.close();
      }
      const [whole, ...others] = results as [(typeof results)[0], ...typeof results];
      for (const other of others) {
        expect(largestGap(other.elementwise.flat(), whole.elementwise.flat())).toBeLessThan(1e-5);
        expect(Object.keys(other.metrics)).toEqual(Object.keys(whole.metrics));
        for (const [name, value] of Object.entries(whole.metrics))
          expect(Math.abs(other.metrics[name]! - value), name).toBeLessThan(
            2e-5 * Math.max(1, Math.abs(value)),
          );
        expect(largestRelativeGap(other.gradients, whole.gradients)).toBeLessThan(2e-5);
      }
    },
  );

  it("a single pair trains, and one whose answers are the same has no gradient", async () => {
    const engine = await TrainingEngine.create({ model });
    const [pair] = tokenPairs(9, 1) as [AnswerPair];
    await engine.forwardBackward(pairDatums([pair]), "dpo");
    expect(takeGradients(engine, mkdtempSync(join(folder, "single-"))).norm).toBeGreaterThan(1e-3);
    const { metrics } = await engine.forwardBackward(
      pairDatums([{ chosen: pair.chosen, rejected: pair.chosen }]),
      "dpo",
    );
    expect(metrics["loss:sum"]).toBeCloseTo(Math.LN2, 6);
    expect(metrics["rewards/margins:sequence_mean"]).toBe(0);
    expect(takeGradients(engine, mkdtempSync(join(folder, "same-"))).norm).toBeLessThan(1e-6);
    await engine.close();
  });

  it("a fresh adapter starts at its reference: rewards are 0 and the loss is log 2", async () => {
    const engine = await TrainingEngine.create({ model, lora: { rank: 4, alpha: 8 } });
    const data = pairDatums(unreferenced(tokenPairs(11, 3)));
    const options = { supervisedOnly: true, withoutAdapter: true };
    const plain = data.map(({ modelInput, lossFnInputs: { target_tokens, weights } }) => ({
      modelInput,
      lossFnInputs: { target_tokens: target_tokens!, weights: weights! },
    }));
    const { lossFnOutputs } = await engine.forward(plain, "cross_entropy", options);
    // One number per token this time.
    const referenced = data.map((datum, i) => ({
      ...datum,
      lossFnInputs: { ...datum.lossFnInputs, reference_logprobs: lossFnOutputs[i]!["logprobs"]! },
    }));
    const { metrics } = await engine.forwardBackward(referenced, "dpo");
    expect(metrics["loss:sum"]).toBeCloseTo(Math.LN2, 5);
    for (const name of ["rewards/chosen", "rewards/rejected", "rewards/margins"])
      expect(Math.abs(metrics[`${name}:sequence_mean`]!)).toBeLessThan(1e-6);
    await engine.close();
  });

  it("kto trains on batches of one kind, and of one answer", async () => {
    const engine = await TrainingEngine.create({ model });
    for (const isDesirable of [true, false]) {
      const answers = tokenPairs(13, 2).map(({ chosen }) => ({ ...chosen, isDesirable }));
      const { metrics } = await engine.forwardBackward(unpairedDatums(answers, { kl: 0.2 }), "kto");
      expect(metrics["count/chosen:sequence_sum"]).toBe(isDesirable ? 2 : 0);
      expect(metrics["count/rejected:sequence_sum"]).toBe(isDesirable ? 0 : 2);
      expect(takeGradients(engine, mkdtempSync(join(folder, "kind-"))).norm).toBeGreaterThan(1e-4);
      await engine.forwardBackward(unpairedDatums(answers.slice(0, 1)), "kto");
      expect(takeGradients(engine, mkdtempSync(join(folder, "one-"))).norm).toBeGreaterThan(1e-4);
    }
    await engine.close();
  });

  it("kto's KL of a fresh adapter is 0, and grows once the policy moves", async () => {
    const engine = await TrainingEngine.create({ model, lora: { rank: 4, alpha: 8 } });
    const answers = tokenPairs(17, 3).map(({ chosen }) => ({ ...chosen, isDesirable: true }));
    const mismatched = mismatchedDatums(answers);
    const estimate = async (): Promise<number> => {
      const logprobs = async (withoutAdapter: boolean): Promise<number[]> => {
        const options = { supervisedOnly: true, withoutAdapter };
        return answerLogprobs(
          mismatched,
          (await engine.forward(mismatched, "cross_entropy", options)).lossFnOutputs,
        );
      };
      return klEstimate(await logprobs(false), await logprobs(true));
    };
    expect(await estimate()).toBe(0);
    // Training on the very answers that the estimate is made of raises their logprobs.
    for (let step = 0; step < 3; step++) {
      await engine.forwardBackward(mismatched, "cross_entropy");
      engine.optimStep(ADAM);
    }
    expect(await estimate()).toBeGreaterThan(0.1);
    await engine.close();
  });

  it("refuses half a pair, an empty answer, and configs that make no sense", async () => {
    const engine = await TrainingEngine.create({ model });
    const data = pairDatums(tokenPairs(15, 2));
    const refused = async (
      given: readonly Datum[],
      lossFnConfig: LossFnConfig,
      message: string,
    ): Promise<void> => {
      await expect(engine.forwardBackward(given, "dpo", { lossFnConfig })).rejects.toThrow(
        new UserError(`Cannot train with "dpo": ${message}`),
      );
    };
    await refused(
      data.slice(1),
      {},
      "3 datums, expected a multiple of 2: chosen and rejected of each example one after the other",
    );
    const empty = data.map((datum, i) =>
      i === 3
        ? {
            ...datum,
            lossFnInputs: {
              ...datum.lossFnInputs,
              weights: { data: datum.modelInput.chunks[0]!.tokens.map(() => 0), dtype: "float32" as const },
            },
          }
        : datum,
    );
    await refused(
      empty,
      {},
      "datum 3 (the rejected of example 1) has no answer: its weights are all 0, expected at least one that is not",
    );
    await refused(
      data,
      { label_smoothing: 0.5 },
      "label_smoothing is 0.5, expected 0 or more and less than 0.5",
    );
    await refused(data, { beta: 0 }, "beta is 0, expected a positive number");
    await refused(
      data,
      { sigmoid: 0, exo_pair: 1 },
      "exo_pair is on and label_smoothing is 0, expected a positive label_smoothing such as 0.001, for its logarithm",
    );
    await refused(
      data,
      { sft: 1 },
      "datum 0 (the chosen of example 0) has no nll_weights, expected one number per target token",
    );
    await refused(
      data,
      { sigmoid: 0 },
      "no loss type has a weight, expected one of sigmoid, hinge, ipo, robust, sigmoid_norm, exo_pair, nca_pair, bco_pair, sppo_hard, apo_zero, apo_down, sft above 0",
    );
    await engine.close();
  });
});
