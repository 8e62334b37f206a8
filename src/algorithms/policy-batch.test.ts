/** From rollouts to datums: the shift, the masks, the weights, and what is refused. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { tokensOf } from "../protocol/index.js";
import {
  ALGORITHMS,
  type AlgorithmName,
  alignedLogprobs,
  logprobDatum,
  type PolicySequence,
  type PolicySettings,
  policyBatch,
  settingsOf,
} from "./index.js";

/** Two prompt tokens, `sampled` tokens of the policy's, and one forced token before the last of them. */
function rollout(reward: number | null, sampled = 3, more: Partial<PolicySequence> = {}): PolicySequence {
  const mask = [0, 0, ...new Array<number>(sampled - 1).fill(1), 0, 1];
  return {
    tokens_T: mask.map((_, t) => 10 + t),
    sampled_T: mask,
    samplingLogprobs_T: mask.map((value, t) => -value * (1 + t / 10)),
    reward,
    ...more,
  };
}

const batchOf = (
  name: AlgorithmName,
  groups: readonly (readonly PolicySequence[])[],
  changes: Partial<PolicySettings> = {},
  more: { readonly steps?: number; readonly dropsIdle?: boolean } = {},
) => policyBatch(groups, { algorithm: ALGORITHMS[name], settings: settingsOf(name, changes), ...more });

const input = (batch: ReturnType<typeof batchOf>, name: string, step = 0): number[][] =>
  batch.datums_steps[step]!.map(({ lossFnInputs }) => lossFnInputs[name]!.data as number[]);

describe("policyBatch()", () => {
  it("shifts: position i of a datum is about token i + 1, and only sampled tokens count", () => {
    const batch = batchOf("dr_grpo", [[rollout(1), rollout(0)]], { maxCompletionLength: 10 });
    const [datum] = batch.datums_steps[0]!;
    expect(tokensOf(datum!.modelInput)).toEqual([10, 11, 12, 13, 14]);
    expect(datum!.lossFnInputs).toEqual({
      target_tokens: { data: [11, 12, 13, 14, 15], dtype: "int64" },
      // Tokens 12 and 13 and, after the forced 14, token 15.
      logprobs: { data: [0, -1.2, -1.3, 0, -1.5], dtype: "float32" },
      advantages: { data: [0, 0.5, 0.5, 0, 0.5], dtype: "float32" },
      // 1 / (B L_max) = 1 / (2 · 10)
      weights: { data: [0, 0.05, 0.05, 0, 0.05], dtype: "float32" },
    });
    expect(batch.lossFn).toBe("grpo");
  });

  it("alignedLogprobs() undoes the shift of logprobDatum()", () => {
    const sequence = rollout(1);
    const datum = logprobDatum(sequence);
    expect(datum.lossFnInputs["weights"]!.data).toEqual(sequence.sampled_T.slice(1));
    const reported = {
      data: datum.lossFnInputs["target_tokens"]!.data.map(Number),
      dtype: "float32" as const,
    };
    expect(alignedLogprobs(reported).slice(1)).toEqual(sequence.tokens_T.slice(1));
    expect(alignedLogprobs(reported).length).toBe(sequence.tokens_T.length);
  });

  it.each<[AlgorithmName, Partial<PolicySettings>, number[]]>([
    // Completions of 2 and 4 sampled tokens: 1/(B n), 1/(2 + 4) each, 1/(B L).
    ["grpo", {}, [1 / 4, 1 / 8]],
    ["bnpo", {}, [1 / 6, 1 / 6]],
    ["dapo", {}, [1 / 6, 1 / 6]],
    ["dr_grpo", { maxCompletionLength: 8 }, [1 / 16, 1 / 16]],
  ])("%s weighs tokens by its aggregation", (name, changes, expected) => {
    const weights = input(batchOf(name, [[rollout(1, 2), rollout(0, 4)]], changes), "weights");
    expect(weights.map((values) => Math.max(...values))).toEqual(expected);
  });

  it("the weights of a step sum to 1 where the loss is a mean, whatever the lengths", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.integer({ min: 2, max: 9 }), { minLength: 2, maxLength: 4 }), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.constantFrom("grpo", "bnpo", "gspo", "rloo"),
        (lengths_P_G, name: AlgorithmName) => {
          const groups = lengths_P_G.map((lengths) => lengths.map((length, i) => rollout(i, length)));
          const batch = batchOf(name, groups, { beta: 0 }, { steps: lengths_P_G.length, dropsIdle: false });
          for (const [step] of lengths_P_G.entries())
            expect(
              input(batch, "weights", step)
                .flat()
                .reduce((a, b) => a + b, 0),
            ).toBeCloseTo(1, 12);
        },
      ),
    );
  });

  it("dapo() shares one weight among all steps, bnpo() lets each step count its own tokens", () => {
    const groups = [
      [rollout(1, 2), rollout(0, 2)],
      [rollout(1, 8), rollout(0, 8)],
    ];
    const largest = (name: AlgorithmName): number[] =>
      [0, 1].map((step) =>
        Math.max(...input(batchOf(name, groups, {}, { steps: 2 }), "weights", step).flat()),
      );
    expect(largest("dapo")).toEqual([2 / 20, 2 / 20]);
    expect(largest("bnpo")).toEqual([1 / 4, 1 / 16]);
  });

  it("keeps groups whole and in order when it splits", () => {
    const groups = [0, 1, 2, 3, 4].map((p) => [
      rollout(1, 2, { tokens_T: [p, 0, 0, 0, 0] }),
      rollout(0, 2, { tokens_T: [p, 1, 0, 0, 0] }),
    ]);
    const { datums_steps } = batchOf("grpo", groups, {}, { steps: 3 });
    expect(datums_steps.map((datums) => datums.map(({ modelInput }) => tokensOf(modelInput)[0]))).toEqual([
      [0, 0, 1, 1],
      [2, 2],
      [3, 3, 4, 4],
    ]);
  });

  it("leaves invalid rewards out before anything is normalised", () => {
    const batch = batchOf("dr_grpo", [
      [rollout(1), rollout(null), rollout(0)],
      [rollout(null), rollout(1)],
    ]);
    expect(batch.advantages_P_G).toEqual([
      [0.5, null, -0.5],
      [null, 0],
    ]);
    expect(batch.datums_steps[0]!.length).toBe(2);
    expect(batch.metrics["frac_reward_invalid"]).toBeCloseTo(2 / 5, 12);
    expect(batch.metrics["reward"]).toBeCloseTo(2 / 3, 12);
  });

  it("leaves out datums that cannot have a gradient, and only those", () => {
    const flat = [rollout(1), rollout(1)].map((sequence) => ({
      ...sequence,
      referenceLogprobs_T: sequence.samplingLogprobs_T,
    }));
    const live = [rollout(1), rollout(0)].map((sequence) => ({
      ...sequence,
      referenceLogprobs_T: sequence.samplingLogprobs_T,
    }));
    const count = (changes: Partial<PolicySettings>, dropsIdle = true): number =>
      batchOf("grpo", [flat, live], changes, { dropsIdle }).datums_steps[0]!.length;
    expect(count({})).toBe(2);
    expect(count({}, false)).toBe(4);
    expect(count({ beta: 0.1 })).toBe(4);
    expect(count({ entropyCoef: 0.1 })).toBe(4);
    // The weights of those that stay do not change.
    expect(input(batchOf("grpo", [flat, live]), "weights")).toEqual(
      input(batchOf("grpo", [flat, live], {}, { dropsIdle: false }), "weights").slice(2),
    );
    expect(batchOf("grpo", [flat]).datums_steps).toEqual([[]]);
  });

  it("masks truncated completions, which still count in the baseline and in B", () => {
    const batch = batchOf("grpo", [[rollout(1), rollout(0, 3, { isTruncated: true })]], {
      maskTruncatedCompletions: true,
      scaleRewards: "none",
    });
    expect(batch.advantages_P_G).toEqual([[0.5, -0.5]]);
    expect(input(batch, "weights").map((values) => Math.max(...values))).toEqual([1 / 6]);
    expect(batch.metrics["completions/clipped_ratio"]).toBe(0.5);
  });

  it("takes the KL off the reward where it is placed there: β Σ (log π_old − log π_ref) over sampled tokens", () => {
    const reference = (gap: number) => ({
      referenceLogprobs_T: rollout(0).samplingLogprobs_T.map((value) => value - gap),
    });
    const batch = batchOf("rloo", [[rollout(1, 3, reference(0.2)), rollout(0, 3, reference(0))]], {
      beta: 0.5,
    });
    // 1 − 0.5 · 3 · 0.2 = 0.7 against 0.
    expect(batch.advantages_P_G[0]![0]).toBeCloseTo(0.7, 12);
    expect(batch.datums_steps[0]![0]!.lossFnInputs["reference_logprobs"]).toBeUndefined();
    expect(batch.metrics["reward"]).toBe(0.5);
  });

  it("multiplies advantages by importance weights, and takes the trainer's logprobs as the old ones", () => {
    const sequence = rollout(1);
    const trainingLogprobs_T = sequence.samplingLogprobs_T.map(
      (value, t) => value + (t === 2 ? Math.log(5) : 0),
    );
    const batch = batchOf(
      "dr_grpo",
      [
        [
          { ...sequence, trainingLogprobs_T },
          { ...rollout(0), trainingLogprobs_T },
        ],
      ],
      {
        importanceCorrection: "token_truncate",
      },
    );
    // The first sampled token is 5 times as likely to the trainer; 3 is the bound.
    const expected = [0, 1.5, 0.5, 0, 0.5];
    for (const [i, value] of input(batch, "advantages")[0]!.entries())
      expect(value).toBeCloseTo(expected[i]!, 12);
    expect(input(batch, "logprobs")[0]![1]).toBeCloseTo(-1.2 + Math.log(5), 12);
    expect(batch.metrics["sampling/importance_sampling_ratio/max"]).toBeCloseTo(5, 12);
    expect(batch.metrics["sampling/sampling_logp_difference/max"]).toBeCloseTo(Math.log(5), 12);
    expect(batch.metrics["sampling/sampling_logp_difference/mean"]).toBeCloseTo(Math.log(5) / 3, 12);
  });

  it("reports TRL's numbers of rewards and lengths", () => {
    const { metrics } = batchOf("grpo", [
      [rollout(1, 2), rollout(0, 4, { isTruncated: true })],
      [rollout(0.5, 3), rollout(0.5, 5)],
    ]);
    expect(metrics).toMatchObject({
      reward: 0.5,
      frac_reward_zero_std: 0.5,
      "completions/mean_length": 3.5,
      "completions/min_length": 2,
      "completions/max_length": 5,
      "completions/mean_terminated_length": 10 / 3,
      "completions/clipped_ratio": 0.25,
    });
    // [1, 0, ½, ½]: squares ¼ + ¼, over 3.
    expect(metrics["reward_std"]).toBeCloseTo(Math.sqrt(0.5 / 3), 12);
  });

  it("what is not sampled has no influence on the datums", () => {
    const sequence = rollout(1);
    const stirred = (values: readonly number[]): number[] =>
      values.map((value, t) => (sequence.sampled_T[t] === 0 ? value - 7 : value));
    const make = (change: (values: readonly number[]) => readonly number[]): PolicySequence[] =>
      [1, 0].map((reward) => ({
        ...sequence,
        reward,
        samplingLogprobs_T: change(sequence.samplingLogprobs_T),
        trainingLogprobs_T: change(sequence.samplingLogprobs_T.map((value) => value * 1.1)),
        referenceLogprobs_T: change(sequence.samplingLogprobs_T.map((value) => value * 1.2)),
      }));
    for (const importanceCorrection of ["token_mask", "sequence_truncate"] as const) {
      const settings = { importanceCorrection, beta: 0.1, entropyCoef: 0.1 };
      expect(batchOf("grpo", [make(stirred)], settings)).toEqual(
        batchOf("grpo", [make((values) => values)], settings),
      );
    }
  });

  it.each<[string, PolicySequence, Partial<PolicySettings>, string]>([
    [
      "no reference",
      rollout(1),
      { beta: 0.1 },
      "it has no referenceLogprobs_T, expected them because beta is 0.1",
    ],
    [
      "no logprobs of the trainer",
      rollout(1),
      { importanceCorrection: "sequence_mask" },
      'it has no trainingLogprobs_T, expected them because importanceCorrection is "sequence_mask"',
    ],
    [
      "a short array",
      rollout(1, 3, { samplingLogprobs_T: [0, -1] }),
      {},
      "it has 2 samplingLogprobs_T for 6 tokens, expected equal",
    ],
    [
      "no prompt",
      rollout(1, 3, { sampled_T: [1, 1, 1, 1, 1, 1] }),
      {},
      "its first token counts as sampled, expected a prompt before it",
    ],
    [
      "a weight as mask",
      rollout(1, 3, { sampled_T: [0, 0, 0.5, 1, 0, 1] }),
      {},
      "sampled_T is 0.5 at token 2, expected 0 or 1",
    ],
    [
      "a logprob of −∞",
      rollout(1, 3, { samplingLogprobs_T: [0, 0, Number.NEGATIVE_INFINITY, 0, 0, 0] }),
      {},
      "samplingLogprobs_T is -Infinity at token 2, expected a finite number",
    ],
    ["a NaN reward", rollout(Number.NaN), {}, "its reward is NaN, expected a finite number or null"],
  ])("refuses a sequence with %s", (_what, sequence, changes, message) => {
    expect(() => batchOf("grpo", [[sequence]], changes)).toThrow(
      new UserError(`Cannot build policy datum of group 0, completion 0: ${message}`),
    );
  });

  it("normalises components of discounted completions by what they earn, whichever comes first", () => {
    const earning = (score: number, weight: number) =>
      rollout(score * weight, 3, { components: { right: { score, weight } } });
    const changes = { multiObjectiveAggregation: "normalize_then_sum" } as const;
    const advantages = (...group: PolicySequence[]) => batchOf("grpo", [group], changes).advantages_P_G[0]!;
    // Right at once, right after a correction that halves the reward, wrong: 1, 0.5 and 0 have mean 0.5 and std 0.5.
    const [once, corrected, wrong] = advantages(earning(1, 1), earning(1, 0.5), earning(0, 1)) as number[];
    expect(once).toBeGreaterThan(0.99);
    expect(corrected).toBeCloseTo(0, 12);
    expect(wrong).toBeCloseTo(-once!, 12);
    expect(advantages(earning(1, 0.5), earning(0, 1), earning(1, 1))).toEqual([corrected, wrong, once]);
    // A correction that is worth nothing must not blind the batch to the others.
    expect(advantages(earning(1, 0), earning(1, 1), earning(0, 1))[1]).toBeGreaterThan(0.5);
    expect(advantages(earning(1, -1), earning(0, -1))[0]).toBeLessThan(-0.7);
  });

  it("refuses more steps than groups, and components that differ", () => {
    expect(() => batchOf("grpo", [[rollout(1)]], {}, { steps: 2 })).toThrow(
      new UserError(
        "Cannot split 1 groups into 2 optimizer steps: expected a whole number of at least 1 and no more than groups",
      ),
    );
    const parts = (...names: string[]) => ({
      components: Object.fromEntries(names.map((name) => [name, { score: 1, weight: 1 }])),
    });
    const byComponent = { multiObjectiveAggregation: "normalize_then_sum" } as const;
    expect(() =>
      batchOf("grpo", [[rollout(1, 3, parts("a", "b")), rollout(0, 3, parts("a"))]], byComponent),
    ).toThrow(new UserError("Cannot normalise rewards by component: one completion has a, expected a, b"));
    expect(() => batchOf("grpo", [[rollout(1)]], byComponent)).toThrow(UserError);
  });
});
