/**
 * Pairs of answers → the datums that `dpo`, `cpo`, `simpo`, `orpo` and `bradley_terry` compare: chosen, rejected, chosen, … Neighbours
 * begin with the same prompt, so an engine computes it once. Token ids only; knows nothing about text.
 *
 * Give all pairs of an optimizer step at once: losses are sums, and the means of a step are in the weights.
 */
import { UserError } from "../base/index.js";
import { type Datum, modelInputFromTokens, type TensorData } from "../protocol/index.js";

/** A prompt with an answer. */
export interface Answer {
  readonly tokens_T: readonly number[];
  /** 1 for the answer's tokens, which the loss is about; 0 for those of the prompt, of tools and forced ones. */
  readonly lossMask_T: readonly number[];
  /** Σ log π_ref over the answer, in nats: see `answerLogprobs`. For losses with a reference. */
  readonly referenceLogprob?: number;
}

export interface AnswerPair {
  readonly chosen: Answer;
  readonly rejected: Answer;
  /** By how much the chosen score should be the higher one; for reward models. @default 0 */
  readonly margin?: number;
}

export interface PairDatumOptions {
  /**
   * Over which tokens of the chosen sequences the supervised part of the loss is a mean: "answer" for `cpo_alpha` and DPO's `sft`,
   * "sequence" (the prompt too) for ORPO as TRL has it, null for none. @default null
   */
  readonly nll?: "answer" | "sequence" | null;
}

/** @throws UserError naming the pair and what does not fit */
export function pairDatums(pairs: readonly AnswerPair[], { nll = null }: PairDatumOptions = {}): Datum[] {
  const inNll = ({ lossMask_T }: Answer): number[] =>
    lossMask_T.slice(1).map((bit) => (nll === "sequence" ? 1 : bit));
  for (const [index, pair] of pairs.entries()) checkPair(pair, `pair ${index}`);
  const nllTokens = pairs.reduce((total, { chosen }) => total + sumOf(inNll(chosen)), 0);
  return pairs.flatMap(({ chosen, rejected }) =>
    [chosen, rejected].map((answer): Datum => {
      const datum = answerDatum(answer, 1 / pairs.length);
      const nllWeights = inNll(answer).map((bit) => (answer === chosen ? bit / nllTokens : 0));
      return {
        ...datum,
        lossFnInputs: {
          ...datum.lossFnInputs,
          ...(nll === null ? {} : { nll_weights: floats(nllWeights) }),
        },
      };
    }),
  );
}

/** For `bradley_terry`: each whole sequence, with its score read at the last token. */
export function scoreDatums(pairs: readonly AnswerPair[]): Datum[] {
  for (const [index, pair] of pairs.entries()) checkPair(pair, `pair ${index}`);
  return pairs.flatMap(({ chosen, rejected, margin = 0 }) =>
    [chosen, rejected].map(({ tokens_T }) => ({
      modelInput: modelInputFromTokens(tokens_T),
      lossFnInputs: {
        weights: floats(tokens_T.map((_, t) => (t === tokens_T.length - 1 ? 1 / pairs.length : 0))),
        margins: floats([margin]),
      },
    })),
  );
}

/** An answer as a datum, each of its tokens with this weight; with weight 1 it is what a reference's `forward` pass takes. */
export function answerDatum({ tokens_T, lossMask_T, referenceLogprob }: Answer, weight = 1): Datum {
  return {
    modelInput: modelInputFromTokens(tokens_T.slice(0, -1)),
    lossFnInputs: {
      target_tokens: { data: tokens_T.slice(1), dtype: "int64" },
      weights: floats(lossMask_T.slice(1).map((bit) => bit * weight)),
      ...(referenceLogprob === undefined ? {} : { reference_logprobs: floats([referenceLogprob]) }),
    },
  };
}

/** Σ log π over each answer, from what `forward` with `cross_entropy` reported of its datum. */
export function answerLogprobs(
  datums: readonly Datum[],
  outputs: readonly Readonly<Record<string, TensorData>>[],
): number[] {
  return datums.map(({ lossFnInputs }, index) => {
    const { data } = outputs[index]!["logprobs"]!;
    return sumOf(lossFnInputs["weights"]!.data.map((weight, t) => (weight === 0 ? 0 : data[t]!)));
  });
}

/** @throws UserError naming the answer and what does not fit */
export function checkAnswer({ tokens_T, lossMask_T, referenceLogprob }: Answer, where: string): void {
  const refuse = (what: string): UserError => new UserError(`Cannot build datum of ${where}: ${what}`);
  if (lossMask_T.length !== tokens_T.length)
    throw refuse(`it has ${lossMask_T.length} lossMask_T for ${tokens_T.length} tokens, expected equal`);
  const strange = lossMask_T.findIndex((bit) => bit !== 0 && bit !== 1);
  if (strange >= 0) throw refuse(`lossMask_T is ${lossMask_T[strange]} at token ${strange}, expected 0 or 1`);
  if (!lossMask_T.includes(1))
    throw refuse(
      "its answer is empty, expected at least one token with lossMask_T 1. Drop the row, or end answers with an end token",
    );
  if (lossMask_T[0] === 1)
    throw refuse("its first token is of the answer, expected a prompt of at least one token before it");
  if (referenceLogprob !== undefined && !(referenceLogprob <= 0 && Number.isFinite(referenceLogprob)))
    throw refuse(`its referenceLogprob is ${referenceLogprob}, expected a finite number of at most 0`);
}

function checkPair({ chosen, rejected, margin = 0 }: AnswerPair, where: string): void {
  checkAnswer(chosen, `${where}, chosen`);
  checkAnswer(rejected, `${where}, rejected`);
  if (!Number.isFinite(margin))
    throw new UserError(`Cannot build datum of ${where}: its margin is ${margin}, expected a finite number`);
}

const floats = (data: number[]): TensorData => ({ data, dtype: "float32" });
const sumOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
