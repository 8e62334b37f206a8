import { describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { type Answer, answerDatum, answerLogprobs, pairDatums, scoreDatums } from "./pair-datums.js";
import { klEstimate, mismatchedDatums, unpairedDatums, unpairedMetrics } from "./unpaired-datums.js";

const answer = (
  prompt: readonly number[],
  completion: readonly number[],
  referenceLogprob?: number,
): Answer => ({
  tokens_T: [...prompt, ...completion],
  lossMask_T: [...prompt.map(() => 0), ...completion.map(() => 1)],
  ...(referenceLogprob === undefined ? {} : { referenceLogprob }),
});
const pairs = [
  { chosen: answer([1, 2], [3, 4, 5], -6), rejected: answer([1, 2], [6], -2) },
  { chosen: answer([7], [8], -1), rejected: answer([7], [9, 9], -3) },
];
const inputOf = (name: string) => (datum: ReturnType<typeof pairDatums>[number]) =>
  datum.lossFnInputs[name]?.data;

describe("pairDatums()", () => {
  it("puts chosen before rejected, shifted, each answer token with one over the number of pairs", () => {
    const datums = pairDatums(pairs);
    expect(datums.map(({ modelInput }) => modelInput.chunks[0]!.tokens)).toEqual([
      [1, 2, 3, 4],
      [1, 2],
      [7],
      [7, 9],
    ]);
    expect(datums.map(inputOf("target_tokens"))).toEqual([[2, 3, 4, 5], [2, 6], [8], [9, 9]]);
    expect(datums.map(inputOf("weights"))).toEqual([[0, 0.5, 0.5, 0.5], [0, 0.5], [0.5], [0.5, 0.5]]);
    expect(datums.map(inputOf("reference_logprobs"))).toEqual([[-6], [-2], [-1], [-3]]);
    expect(datums.map(inputOf("nll_weights"))).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("the supervised part is a mean over the answers' tokens, or over all of the chosen sequences, and never over rejected ones", () => {
    const [third, fifth] = [1 / 4, 1 / 5];
    expect(pairDatums(pairs, { nll: "answer" }).map(inputOf("nll_weights"))).toEqual([
      [0, third, third, third],
      [0, 0],
      [third],
      [0, 0],
    ]);
    expect(pairDatums(pairs, { nll: "sequence" }).map(inputOf("nll_weights"))).toEqual([
      [fifth, fifth, fifth, fifth],
      [0, 0],
      [fifth],
      [0, 0],
    ]);
  });

  it.each<[string, Answer, string]>([
    [
      "an empty answer",
      { tokens_T: [1, 2], lossMask_T: [0, 0] },
      "its answer is empty, expected at least one token with lossMask_T 1. Drop the row, or end answers with an end token",
    ],
    [
      "no prompt",
      { tokens_T: [1, 2], lossMask_T: [1, 1] },
      "its first token is of the answer, expected a prompt of at least one token before it",
    ],
    [
      "a mask of another length",
      { tokens_T: [1, 2], lossMask_T: [0, 1, 1] },
      "it has 3 lossMask_T for 2 tokens, expected equal",
    ],
    [
      "half a token",
      { tokens_T: [1, 2], lossMask_T: [0, 0.5] },
      "lossMask_T is 0.5 at token 1, expected 0 or 1",
    ],
    [
      "a reference that is no logprob",
      answer([1], [2], 0.5),
      "its referenceLogprob is 0.5, expected a finite number of at most 0",
    ],
  ])("refuses %s", (_title, rejected, message) => {
    const given = [pairs[0]!, { chosen: pairs[1]!.chosen, rejected }];
    const expected = new UserError(`Cannot build datum of pair 1, rejected: ${message}`);
    expect(() => pairDatums(given)).toThrow(expected);
    expect(() => scoreDatums(given)).toThrow(expected);
  });
});

describe("scoreDatums()", () => {
  it("reads the score at the last token of the whole sequence", () => {
    const datums = scoreDatums([{ ...pairs[0]!, margin: 0.5 }]);
    expect(datums.map(({ modelInput }) => modelInput.chunks[0]!.tokens)).toEqual([
      [1, 2, 3, 4, 5],
      [1, 2, 6],
    ]);
    expect(datums.map(inputOf("weights"))).toEqual([
      [0, 0, 0, 0, 1],
      [0, 0, 1],
    ]);
    expect(datums.map(inputOf("margins"))).toEqual([[0.5], [0.5]]);
    expect(() => scoreDatums([{ ...pairs[0]!, margin: Number.NaN }])).toThrow(
      "its margin is NaN, expected a finite number",
    );
  });
});

describe("answerLogprobs()", () => {
  it("adds up the logprobs of answer tokens alone", () => {
    const datums = [answerDatum(pairs[0]!.chosen), answerDatum(pairs[1]!.rejected)];
    const outputs = [
      [-9, -1, -2, -4],
      [-3, -0.5],
    ].map((data) => ({ logprobs: { data, dtype: "float32" as const } }));
    expect(answerLogprobs(datums, outputs)).toEqual([-7, -3.5]);
  });
});

describe("unpairedDatums() and its KL", () => {
  const answers = [
    { ...answer([1, 2], [3, 4], -5), isDesirable: true },
    { ...answer([5], [6], -1), isDesirable: false },
    { ...answer([7, 8, 9], [10, 11, 12], -7), isDesirable: true },
  ];

  it("carries label and KL in one number each", () => {
    const datums = unpairedDatums(answers, { kl: 0.75 });
    expect(datums.map(inputOf("labels"))).toEqual([[1], [0], [1]]);
    expect(datums.map(inputOf("kl"))).toEqual([[0.75], [0.75], [0.75]]);
    expect(datums.map(inputOf("weights"))).toEqual([[0, 1 / 3, 1 / 3], [1 / 3], [0, 0, 1 / 3, 1 / 3, 1 / 3]]);
    expect(() => unpairedDatums(answers, { kl: -1 })).toThrow(
      "kl is -1, expected a finite number of at least 0",
    );
  });

  it("gives each prompt the answer before its own, as TRL does", () => {
    const datums = mismatchedDatums(answers);
    const whole = datums.map(({ modelInput, lossFnInputs }) => [
      modelInput.chunks[0]!.tokens[0],
      ...lossFnInputs["target_tokens"]!.data,
    ]);
    expect(whole).toEqual([
      [1, 2, 10, 11, 12],
      [5, 3, 4],
      [7, 8, 9, 6],
    ]);
    expect(datums.map(inputOf("weights"))).toEqual([
      [0, 1, 1, 1],
      [1, 1],
      [0, 0, 1],
    ]);
    expect(datums.some(({ lossFnInputs }) => "reference_logprobs" in lossFnInputs)).toBe(false);
    expect(() => mismatchedDatums(answers.slice(0, 1))).toThrow(
      new UserError(
        'Cannot estimate the KL of "kto": 1 answers in the batch, expected at least 2, for each is given to another\'s prompt. Take larger batches, or a fixed kl',
      ),
    );
  });

  it("is the mean of the differences, and never negative", () => {
    expect(klEstimate([-3, -4], [-5, -5])).toBe(1.5);
    expect(klEstimate([-5, -5], [-3, -4])).toBe(0);
    expect(() => klEstimate([-1], [])).toThrow("1 and 0 logprobs, expected equal and at least 1");
  });

  it("unpairedMetrics() divides sums by counts, and leaves out what there is none of", () => {
    const sums = {
      "count/chosen:sequence_sum": 2,
      "rewards/chosen:sequence_sum": 3,
      "logps/chosen:sequence_sum": -8,
      "rewards/rejected:sequence_sum": -1,
      "logps/rejected:sequence_sum": -5,
      "kl:sequence_mean": 0.5,
    };
    const chosen = { "rewards/chosen": 1.5, "logps/chosen": -4, kl: 0.5 };
    expect(unpairedMetrics({ ...sums, "count/rejected:sequence_sum": 0 })).toEqual(chosen);
    expect(unpairedMetrics({ ...sums, "count/rejected:sequence_sum": 1 })).toEqual({
      ...chosen,
      "rewards/rejected": -1,
      "logps/rejected": -5,
      "rewards/margins": 2.5,
    });
  });
});
