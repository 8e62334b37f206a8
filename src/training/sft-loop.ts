/**
 * Supervised fine-tuning: batch, gradient, update, measure, save; repeat. Knows the protocol and nothing of models.
 * A resumed run continues bit for bit: everything that decides a step is in the checkpoint or a pure function of it.
 */
import { join } from "node:path";
import { UserError } from "../base/index.js";
import { type BatchPlan, createBatchPlan, hashRows, START, type TrainingRow } from "../datasets/index.js";
import type { TrainingClient } from "../protocol/index.js";
import {
  brokenDatums,
  type CrossEntropyBatch,
  crossEntropyBatch,
  gradNormOf,
  lossOf,
} from "./cross-entropy.js";
import type { SftMetrics } from "./metrics.js";
import type { RunRecorder } from "./recorder.js";
import { learningRateAt, warmupStepsOf } from "./schedule.js";
import type { SftConfig } from "./sft-config.js";
import { CLIENT_STATE, readSftState, type SftState, type SftTerms, writeSftState } from "./sft-state.js";

/** The keys of the configuration that the loop reads. */
export type SftLoopConfig = Pick<
  SftConfig,
  | "batchSize"
  | "epochs"
  | "maxSteps"
  | "learningRate"
  | "schedule"
  | "warmupSteps"
  | "warmupFraction"
  | "weightDecay"
  | "beta1"
  | "beta2"
  | "eps"
  | "gradClipNorm"
  | "seed"
  | "evalEvery"
  | "saveEvery"
  | "keepCheckpoints"
>;

export type SftProgress =
  | { readonly kind: "start"; readonly step: number; readonly totalSteps: number }
  | {
      readonly kind: "step";
      readonly step: number;
      readonly totalSteps: number;
      readonly epoch: number;
      readonly loss: number;
      readonly learningRate: number;
      readonly gradNorm: number | undefined;
      readonly tokensPerSecond: number;
      readonly secondsLeft: number;
    }
  | { readonly kind: "validation"; readonly step: number; readonly loss: number }
  | { readonly kind: "checkpoint"; readonly step: number; readonly path: string };

export interface RunSftOptions {
  readonly client: TrainingClient;
  readonly train: readonly TrainingRow[];
  /** The file of `train`, for naming rows. */
  readonly trainPath: string;
  /** @default none: no validation loss */
  readonly validation?: readonly TrainingRow[];
  readonly config: SftLoopConfig;
  readonly recorder: RunRecorder;
  /** Milliseconds of a monotonic clock, such as `performance.now`. */
  readonly clock: () => number;
  readonly onProgress?: (progress: SftProgress) => void;
  /** Stops after the step in hand, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** Directory of the checkpoint to go on from. */
  readonly resumeFrom?: string;
}

export interface SftResult {
  readonly status: "finished" | "interrupted";
  /** Updates done, over all sessions of the run. */
  readonly step: number;
  readonly totalSteps: number;
  readonly trainLoss?: number;
  readonly validationLoss?: number;
  /** What to tell the user: the outcome and, if stopped, how to resume. */
  readonly message: string;
}

/** All updates of a run: whole or broken epochs, and no more than `maxSteps`. */
export function totalStepsOf(
  rowCount: number,
  { batchSize, epochs, maxSteps }: Pick<SftLoopConfig, "batchSize" | "epochs" | "maxSteps">,
): number {
  const ofEpochs = Math.ceil(epochs * Math.ceil(rowCount / batchSize));
  return Math.min(ofEpochs, maxSteps ?? ofEpochs);
}

/**
 * Trains `client` on `train`.
 *
 * @throws UserError when a loss or gradient is not finite: before the update, the last checkpoint untouched.
 */
export async function runSft(options: RunSftOptions): Promise<SftResult> {
  const { config, train, recorder, clock, onProgress, signal } = options;
  const validation = options.validation ?? [];
  const totalSteps = totalStepsOf(train.length, config);
  const plan = createBatchPlan({ rowCount: train.length, batchSize: config.batchSize, seed: config.seed });
  const terms = termsOf(options, totalSteps);
  let state = await openState(options, terms);
  const firstStep = state.step;
  let savedStep = options.resumeFrom === undefined ? -1 : state.step;
  let trainLoss: number | undefined;
  let validationLoss: number | undefined;
  let busySeconds = 0;

  const save = async (score: number | undefined): Promise<void> => {
    const write = (directory: string): Promise<void> => writeCheckpoint(directory, options.client, state);
    const { path } = await recorder.saveCheckpoint(state.step, write, {
      score,
      keepBest: config.keepCheckpoints,
    });
    savedStep = state.step;
    onProgress?.({ kind: "checkpoint", step: state.step, path });
  };

  onProgress?.({ kind: "start", step: state.step, totalSteps });
  if (state.step === 0 && totalSteps > 0 && validation.length > 0 && signal?.aborted !== true) {
    validationLoss = await validate(options, state.step);
    recorder.logMetrics(0, { "loss/validation": validationLoss } satisfies SftMetrics);
  }
  while (state.step < totalSteps && signal?.aborted !== true) {
    const started = clock();
    const update = await updateOnce(options, plan, state, totalSteps);
    const seconds = (clock() - started) / 1000;
    busySeconds += seconds;
    state = update.state;
    trainLoss = update.loss;

    const isLast = state.step === totalSteps;
    const isSaving = isLast || isDue(state.step, config.saveEvery);
    const isMeasuring = validation.length > 0 && (isSaving || isDue(state.step, config.evalEvery));
    const epoch = epochOf(state, plan);
    const secondsLeft = (busySeconds / (state.step - firstStep)) * (totalSteps - state.step);
    const tokensPerSecond = update.batch.tokens / Math.max(seconds, 1e-6);
    onProgress?.({
      kind: "step",
      step: state.step,
      totalSteps,
      epoch,
      loss: update.loss,
      learningRate: update.learningRate,
      gradNorm: update.gradNorm,
      tokensPerSecond,
      secondsLeft,
    });
    const measured = isMeasuring ? await validate(options, state.step) : undefined;
    if (measured !== undefined) validationLoss = measured;
    recorder.logMetrics(
      state.step,
      {
        "loss/train": update.loss,
        ...(measured === undefined ? {} : { "loss/validation": measured }),
        "optimizer/learning_rate": update.learningRate,
        ...(update.gradNorm === undefined ? {} : { "optimizer/grad_norm": update.gradNorm }),
        "data/epoch": epoch,
        "tokens/total": state.tokensTotal,
        "tokens/supervised": update.batch.supervisedTokens,
      } satisfies SftMetrics,
      { "tokens/per_second": tokensPerSecond, "time/step_seconds": seconds } satisfies SftMetrics,
    );
    if (isSaving) await save(measured);
  }

  const isFinished = state.step >= totalSteps;
  if (!isFinished && savedStep !== state.step && state.step > firstStep) await save(undefined);
  return {
    status: isFinished ? "finished" : "interrupted",
    step: state.step,
    totalSteps,
    ...(trainLoss === undefined ? {} : { trainLoss }),
    ...(validationLoss === undefined ? {} : { validationLoss }),
    message: isFinished
      ? finishedMessage(state.step, trainLoss, validationLoss)
      : stoppedMessage(state.step, totalSteps, recorder.id),
  };
}

interface Update {
  readonly state: SftState;
  readonly batch: CrossEntropyBatch;
  readonly loss: number;
  readonly learningRate: number;
  readonly gradNorm: number | undefined;
}

async function updateOnce(
  options: RunSftOptions,
  plan: BatchPlan,
  state: SftState,
  totalSteps: number,
): Promise<Update> {
  const { client, config, train } = options;
  const { rows: indices, next } = plan.batchAt(state.cursor);
  const rows = indices.map((i) => train[i]!);
  const batch = crossEntropyBatch(rows);
  const output = await client.forwardBackward(batch.datums, "cross_entropy");
  const loss = lossOf(batch.datums, output);
  const step = state.step + 1;
  if (!Number.isFinite(loss))
    throw brokenLoss(options, { step, loss, rows, broken: brokenDatums(batch.datums, output) });

  const warmupSteps = warmupStepsOf(totalSteps, config);
  const learningRate = learningRateAt(state.step, totalSteps, { ...config, warmupSteps });
  const { beta1, beta2, eps, weightDecay, gradClipNorm } = config;
  const params = { learningRate, beta1, beta2, eps, weightDecay, gradClipNorm };
  const { metrics } = await client.optimStep(params).catch((thrown: unknown) => {
    // The client refuses gradients that are not finite; it cannot know which rows they came from.
    if (!(thrown instanceof UserError)) throw thrown;
    throw new UserError(
      `Cannot do step ${step}: ${thrown.message}; the batch was ${namesOf(options, rows)}. ${REMEDY}`,
      { cause: thrown },
    );
  });
  const gradNorm = gradNormOf(metrics);
  if (gradNorm !== undefined && !Number.isFinite(gradNorm)) {
    throw new UserError(
      `Cannot go on after step ${step}: the gradient norm is ${gradNorm} though the loss is ${loss}, expected a finite number; the batch was ${namesOf(options, rows)}. ${REMEDY}`,
    );
  }
  return {
    state: { ...state, step, cursor: next, tokensTotal: state.tokensTotal + batch.tokens },
    batch,
    loss,
    learningRate,
    gradNorm,
  };
}

const REMEDY =
  "The last checkpoint is untouched; resume from it with a lower learningRate, or look at the rows";

function brokenLoss(
  options: RunSftOptions,
  found: {
    readonly step: number;
    readonly loss: number;
    readonly rows: readonly TrainingRow[];
    readonly broken: readonly number[];
  },
): UserError {
  const { step, loss, rows, broken } = found;
  const lines = (broken.length > 0 ? broken.map((i) => rows[i]!) : rows).map(({ line }) => line);
  options.recorder.logEvent("non_finite_loss", { step, loss: `${loss}`, lines });
  const guilty =
    broken.length > 0
      ? `it comes from ${namesOf(
          options,
          broken.map((i) => rows[i]!),
        )}`
      : `the batch was ${namesOf(options, rows)}`;
  return new UserError(
    `Cannot do step ${step}: the loss is ${loss}, expected a finite number; ${guilty}. The weights were not updated. ${REMEDY}`,
  );
}

/** `train.jsonl:3, train.jsonl:9 and 6 more`. */
function namesOf({ trainPath }: RunSftOptions, rows: readonly TrainingRow[]): string {
  const named = rows.slice(0, 8).map(({ line }) => `${trainPath}:${line}`);
  return named.join(", ") + (rows.length > named.length ? ` and ${rows.length - named.length} more` : "");
}

/** The token-mean loss over all validation rows, with the weights as they are. */
async function validate(
  { client, validation = [], config, onProgress }: RunSftOptions,
  step: number,
): Promise<number> {
  let sum = 0;
  let tokens = 0;
  for (let start = 0; start < validation.length; start += config.batchSize) {
    const batch = crossEntropyBatch(validation.slice(start, start + config.batchSize), 1);
    const output = await client.forward(batch.datums, "cross_entropy", { supervisedOnly: true });
    sum += lossOf(batch.datums, output);
    tokens += batch.supervisedTokens;
  }
  const loss = sum / tokens;
  if (!Number.isFinite(loss)) {
    throw new UserError(
      `Cannot go on after step ${step}: the validation loss is ${loss}, expected a finite number. ${REMEDY}`,
    );
  }
  onProgress?.({ kind: "validation", step, loss });
  return loss;
}

async function writeCheckpoint(directory: string, client: TrainingClient, state: SftState): Promise<void> {
  await client.saveState(join(directory, CLIENT_STATE));
  writeSftState(directory, state);
}

async function openState({ client, resumeFrom }: RunSftOptions, terms: SftTerms): Promise<SftState> {
  if (resumeFrom === undefined) return { version: 1, step: 0, cursor: START, tokensTotal: 0, terms };
  const state = readSftState(resumeFrom, terms);
  await client.loadState(join(resumeFrom, CLIENT_STATE));
  return state;
}

function termsOf({ config, train, validation = [] }: RunSftOptions, totalSteps: number): SftTerms {
  const { batchSize, seed, learningRate, schedule } = config;
  const { warmupFraction, weightDecay, beta1, beta2, eps, gradClipNorm } = config;
  return {
    "training data": hashRows(train),
    "validation data": hashRows(validation),
    totalSteps,
    batchSize,
    seed,
    learningRate,
    schedule,
    warmupSteps: config.warmupSteps,
    warmupFraction,
    weightDecay,
    beta1,
    beta2,
    eps,
    gradClipNorm,
  };
}

function isDue(step: number, every: number): boolean {
  return every > 0 && step % every === 0;
}

/** Passes done: 1.5 is one and a half. */
function epochOf({ cursor }: SftState, { rowCount }: BatchPlan): number {
  return cursor.epoch + cursor.position / rowCount;
}

function finishedMessage(
  step: number,
  trainLoss: number | undefined,
  validationLoss: number | undefined,
): string {
  const losses = [
    ...(trainLoss === undefined ? [] : [`training loss ${trainLoss.toFixed(4)}`]),
    ...(validationLoss === undefined ? [] : [`validation loss ${validationLoss.toFixed(4)}`]),
  ];
  return `Finished ${step} steps${losses.length === 0 ? "" : `: ${losses.join(", ")}`}`;
}

function stoppedMessage(step: number, totalSteps: number, id: string): string {
  return step === 0
    ? `Stopped before the first of ${totalSteps} steps`
    : `Stopped after step ${step} of ${totalSteps}, with a checkpoint. Resume with: hone train sft --resume ${id}`;
}
