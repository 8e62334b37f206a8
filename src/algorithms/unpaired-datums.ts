/**
 * Answers that are good or bad on their own → the datums of `kto`, and its estimate of the KL to the reference.
 *
 *     z = max(0, mean over the batch of Σ_t log π_θ(y'_t|x) − log π_ref(y'_t|x)),    y' the answer to another prompt
 *
 * arXiv:2402.01306, section 4.2, and TRL: the answers y' are those of the batch, each moved on to the next prompt. The estimate is of the
 * whole batch and computed before the step, in one pass more: `mismatchedDatums`, forward under policy and reference, `klEstimate`.
 * So it is a number that every datum carries, and no split into micro-batches can change it. A fixed one may stand in its place.
 */
import { UserError } from "../base/index.js";
import type { Datum } from "../protocol/index.js";
import { type Answer, answerDatum, checkAnswer } from "./pair-datums.js";

export interface LabelledAnswer extends Answer {
  readonly isDesirable: boolean;
}

/** All answers of an optimizer step. `kl`: z, in nats; 0 makes this APO-zero unpaired. */
export function unpairedDatums(
  answers: readonly LabelledAnswer[],
  { kl = 0 }: { readonly kl?: number } = {},
): Datum[] {
  if (!(kl >= 0 && Number.isFinite(kl)))
    throw new UserError(`Cannot build datums for "kto": kl is ${kl}, expected a finite number of at least 0`);
  return answers.map((answer, index) => {
    checkAnswer(answer, `answer ${index}`);
    const datum = answerDatum(answer, 1 / answers.length);
    const number = (value: number) => ({ data: [value], dtype: "float32" as const });
    return {
      ...datum,
      lossFnInputs: {
        ...datum.lossFnInputs,
        labels: number(Number(answer.isDesirable)),
        kl: number(kl),
      },
    };
  });
}

/**
 * Every prompt with the answer before its own, the first with the last: what the KL is estimated on.
 * @throws UserError for a single answer, which would be matched with itself
 */
export function mismatchedDatums(answers: readonly Answer[]): Datum[] {
  if (answers.length < 2)
    throw new UserError(
      `Cannot estimate the KL of "kto": ${answers.length} answers in the batch, expected at least 2, for each is given to another's prompt. Take larger batches, or a fixed kl`,
    );
  return answers.map((answer, index) => {
    checkAnswer(answer, `answer ${index}`);
    const other = answers.at(index - 1)!; // of the first, the last
    const [start, otherStart] = [answer.lossMask_T.indexOf(1), other.lossMask_T.indexOf(1)];
    if (otherStart < 0) checkAnswer(other, `answer ${answers.indexOf(other)}`);
    return answerDatum({
      tokens_T: [...answer.tokens_T.slice(0, start), ...other.tokens_T.slice(otherStart)],
      lossMask_T: [...answer.lossMask_T.slice(0, start), ...other.lossMask_T.slice(otherStart)],
    });
  });
}

/** z from the mismatched answers' logprobs (`answerLogprobs`) under both models. */
export function klEstimate(policy: readonly number[], reference: readonly number[]): number {
  if (policy.length === 0 || policy.length !== reference.length)
    throw new RangeError(
      `Cannot estimate a KL: ${policy.length} and ${reference.length} logprobs, expected equal and at least 1`,
    );
  const total = policy.reduce((sum, logprob, i) => sum + logprob - reference[i]!, 0);
  return Math.max(0, total / policy.length);
}

/** TRL's names for what `kto` reports: means over the answers of each kind, left out where there is none. Sums of several calls may be added first. */
export function unpairedMetrics(metrics: Readonly<Record<string, number>>): Record<string, number> {
  const means: Record<string, number> = {};
  for (const kind of ["chosen", "rejected"]) {
    const count = metrics[`count/${kind}:sequence_sum`] ?? 0;
    if (count === 0) continue;
    for (const what of ["rewards", "logps"])
      means[`${what}/${kind}`] = metrics[`${what}/${kind}:sequence_sum`]! / count;
  }
  const [chosen, rejected] = [means["rewards/chosen"], means["rewards/rejected"]];
  if (chosen !== undefined && rejected !== undefined) means["rewards/margins"] = chosen - rejected;
  return { ...means, kl: metrics["kl:sequence_mean"] ?? 0 };
}
