/**
 * Learning from pairs on the loop over rows: all pairs of a step become datums at once, so that the step's means are in their
 * weights, and no split of the call can change them. Validation is one such batch, cut where memory asks for it.
 */
import { answerLogprobs, type PreferenceLoss, pairDatums, scoreDatums } from "../../algorithms/index.js";
import { UserError } from "../../base/index.js";
import type { Datum, ForwardBackwardOutput } from "../../protocol/index.js";
import { brokenDatums } from "../cross-entropy.js";
import { type LoopResult, type RowMethod, type RunRowsOptions, runRows } from "../row-loop.js";
import { hashPairs, type PairRow } from "./pair-rows.js";
import { type MeasuredPart, wholeMetrics } from "./preference-metrics.js";

export interface RunPreferencesOptions extends Omit<RunRowsOptions<PairRow>, "method"> {
  /** As `hone train` calls it: names the run's state. */
  readonly method: string;
  readonly loss: PreferenceLoss;
  /** @default none */
  readonly validation?: readonly PairRow[];
  /** Of the reference's numbers, where the loss needs them: `ReferencedPairs`. */
  readonly referenceHash?: string;
  /** The reference is the policy before step 1, so that the first rewards must be 0. @default false */
  readonly startsAtReference?: boolean;
}

/**
 * Trains `client` on `train`.
 *
 * @throws UserError when the policy does not start at its reference, or a loss or gradient is not finite
 */
export function runPreferences(options: RunPreferencesOptions): Promise<LoopResult> {
  const { client, loss, method: name, referenceHash, train, validation = [], ...rest } = options;
  const { lossFn, lossFnConfig } = loss;
  const method: RowMethod<PairRow> = {
    name,
    gradient: async (rows, step) => {
      const datums = datumsOf(rows, loss);
      const output = await client.forwardBackward(datums, lossFn, { lossFnConfig });
      const metrics = metricsOf([{ metrics: output.metrics, count: rows.length }], loss);
      if (step === 1 && options.startsAtReference === true) checkStart(options, rows, datums, output);
      return {
        loss: metrics["loss"]!,
        tokens: tokenCount(rows),
        broken: [...new Set(brokenDatums(datums, output).map((i) => Math.floor(i / 2)))],
        metrics,
      };
    },
    ...(validation.length === 0 ? {} : { validate: () => validationOf({ ...options, validation }) }),
    terms: {
      "training data": hashPairs(train),
      "validation data": hashPairs(validation),
      loss: JSON.stringify([lossFn, lossFnConfig, loss.nll]),
      ...(referenceHash === undefined ? {} : { "reference logprobs": referenceHash }),
    },
  };
  return runRows({ ...rest, client, train, method });
}

/** The pairs of a whole step, as its loss reads them: logprobs of answers, or the score of each sequence. */
export function datumsOf(rows: readonly PairRow[], { lossFn, nll }: PreferenceLoss): Datum[] {
  return lossFn === "bradley_terry" ? scoreDatums(rows) : pairDatums(rows, { nll });
}

/** Tokens of both answers with their prompts. */
export function tokenCount(rows: readonly PairRow[]): number {
  return rows.reduce(
    (sum, { chosen, rejected }) => sum + chosen.tokens_T.length + rejected.tokens_T.length,
    0,
  );
}

async function validationOf({
  client,
  loss,
  config,
  validation,
}: RunPreferencesOptions & { readonly validation: readonly PairRow[] }) {
  const datums = datumsOf(validation, loss);
  const parts: MeasuredPart[] = [];
  for (let start = 0; start < validation.length; start += config.batchSize) {
    const slice = datums.slice(2 * start, 2 * (start + config.batchSize));
    const { metrics } = await client.forward(slice, loss.lossFn, {
      lossFnConfig: loss.lossFnConfig,
      supervisedOnly: true,
    });
    parts.push({ metrics, count: slice.length / 2 });
  }
  const metrics = metricsOf(parts, loss);
  const named = Object.entries(metrics).map(([name, value]) => [`eval_${name}`, value]);
  return { loss: metrics["loss"]!, metrics: Object.fromEntries(named) };
}

function metricsOf(parts: readonly MeasuredPart[], { nll }: PreferenceLoss): Record<string, number> {
  const { nll_loss, ...metrics } = wholeMetrics(parts);
  return nll === null || nll_loss === undefined ? metrics : { ...metrics, nll_loss };
}

/** Largest log π − log π_ref of a token of the first batch, on average over its answer. Rounding is 1e-6, another model 1e-1. */
const START_TOLERANCE = 1e-3;

/** The KL of a policy to itself is 0: where it is not, the reference's numbers are of another model. */
function checkStart(
  { recorder }: RunPreferencesOptions,
  rows: readonly PairRow[],
  datums: readonly Datum[],
  { lossFnOutputs }: ForwardBackwardOutput,
): void {
  const logprobs = answerLogprobs(datums, lossFnOutputs);
  const answers = rows.flatMap(({ chosen, rejected }) => [chosen, rejected]);
  const gaps = answers.map(({ referenceLogprob, lossMask_T }, i) => {
    const tokens = lossMask_T.reduce((sum, bit) => sum + bit, 0);
    return Math.abs(logprobs[i]! - (referenceLogprob ?? Number.NaN)) / tokens;
  });
  const measured = gaps.reduce((a, b) => (b > a || Number.isNaN(b) ? b : a), 0);
  recorder.logEvent("starts_at_reference", { measured: `${measured}`, limit: START_TOLERANCE });
  if (measured <= START_TOLERANCE) return;
  throw new UserError(
    `Cannot begin training: before the first update the policy's logprobs are ${measured.toExponential(2)} nats per token away from the reference's, expected at most ${START_TOLERANCE}: the reference is another model. Nothing was trained. Remove the project's .hone/reference, or set referenceModel if another one is meant`,
  );
}
