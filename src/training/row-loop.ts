/**
 * The loop over the rows of a data set: batch, gradient, update, measure, save; repeat. What a batch teaches is the
 * method's; the order of rows, the schedule, checkpoints and exact resume are here. Knows the protocol and no model.
 * A resumed run continues bit for bit: everything that decides a step is in the checkpoint or a pure function of it.
 */
import { join } from "node:path";
import { UserError } from "../base/index.js";
import { type BatchPlan, createBatchPlan, START } from "../datasets/index.js";
import type { TrainingClient } from "../protocol/index.js";
import { gradNormOf } from "./cross-entropy.js";
import { CLIENT_STATE, type LoopState, type LoopTerms, readLoopState, writeLoopState } from "./loop-state.js";
import type { SftMetrics } from "./metrics.js";
import type { RunRecorder } from "./recorder.js";
import { learningRateAt, warmupStepsOf } from "./schedule.js";
import type { SftConfig } from "./sft-config.js";

/** The keys of the configuration that the loop reads. */
export type LoopConfig = Pick<
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

export type LoopProgress =
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

/** A row that can be named in messages. */
export interface LoopRow {
  /** The line of its file. */
  readonly line: number;
}

/** What a method computed of a batch; its gradient waits in the client. */
export interface BatchGradient {
  readonly loss: number;
  /** Tokens computed, prompts included. */
  readonly tokens: number;
  /** Places in the batch of rows whose own loss is not finite, as far as it is known. */
  readonly broken: readonly number[];
  /** What is recorded of the step. */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Validation {
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** What is learned from rows. */
export interface RowMethod<R extends LoopRow> {
  /** As `hone train` calls it. */
  readonly name: string;
  /** Puts the gradient of the batch's loss into the client. `step` counts from 1. */
  gradient(rows: readonly R[], step: number): Promise<BatchGradient>;
  /** Of the weights as they are. Absent where there is nothing to validate on. */
  readonly validate?: () => Promise<Validation>;
  /** What must be the same in a run that goes on, beside the configuration's own keys. */
  readonly terms: LoopTerms;
}

export interface RunRowsOptions<R extends LoopRow> {
  readonly client: TrainingClient;
  readonly method: RowMethod<R>;
  readonly train: readonly R[];
  /** The file of `train`, for naming rows. */
  readonly trainPath: string;
  readonly config: LoopConfig;
  readonly recorder: RunRecorder;
  /** Milliseconds of a monotonic clock, such as `performance.now`. */
  readonly clock: () => number;
  readonly onProgress?: ((progress: LoopProgress) => void) | undefined;
  /** Stops after the step in hand, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  /** Directory of the checkpoint to go on from. */
  readonly resumeFrom?: string | undefined;
}

export interface LoopResult {
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
  { batchSize, epochs, maxSteps }: Pick<LoopConfig, "batchSize" | "epochs" | "maxSteps">,
): number {
  const ofEpochs = Math.ceil(epochs * Math.ceil(rowCount / batchSize));
  return Math.min(ofEpochs, maxSteps ?? ofEpochs);
}

/**
 * Trains `client` on `train`.
 *
 * @throws UserError when a loss or gradient is not finite: before the update, the last checkpoint untouched.
 */
export async function runRows<R extends LoopRow>(options: RunRowsOptions<R>): Promise<LoopResult> {
  const { config, method, train, recorder, clock, onProgress, signal } = options;
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
    const write = (directory: string): Promise<void> => writeCheckpoint(directory, options, state);
    const { path } = await recorder.saveCheckpoint(state.step, write, {
      score,
      keepBest: config.keepCheckpoints,
    });
    savedStep = state.step;
    onProgress?.({ kind: "checkpoint", step: state.step, path });
  };

  onProgress?.({ kind: "start", step: state.step, totalSteps });
  if (state.step === 0 && totalSteps > 0 && method.validate !== undefined && signal?.aborted !== true) {
    const measured = await validate(options, state.step);
    validationLoss = measured.loss;
    recorder.logMetrics(0, measured.metrics);
  }
  while (state.step < totalSteps && signal?.aborted !== true) {
    const started = clock();
    const update = await updateOnce(options, plan, state, totalSteps);
    const seconds = (clock() - started) / 1000;
    busySeconds += seconds;
    state = update.state;
    trainLoss = update.gradient.loss;

    const isLast = state.step === totalSteps;
    const isSaving = isLast || isDue(state.step, config.saveEvery);
    const isMeasuring = method.validate !== undefined && (isSaving || isDue(state.step, config.evalEvery));
    const epoch = epochOf(state, plan);
    const secondsLeft = (busySeconds / (state.step - firstStep)) * (totalSteps - state.step);
    const tokensPerSecond = update.gradient.tokens / Math.max(seconds, 1e-6);
    onProgress?.({
      kind: "step",
      step: state.step,
      totalSteps,
      epoch,
      loss: update.gradient.loss,
      learningRate: update.learningRate,
      gradNorm: update.gradNorm,
      tokensPerSecond,
      secondsLeft,
    });
    const measured = isMeasuring ? await validate(options, state.step) : undefined;
    if (measured !== undefined) validationLoss = measured.loss;
    recorder.logMetrics(
      state.step,
      {
        ...update.gradient.metrics,
        ...measured?.metrics,
        "optimizer/learning_rate": update.learningRate,
        ...(update.gradNorm === undefined ? {} : { "optimizer/grad_norm": update.gradNorm }),
        "data/epoch": epoch,
        "tokens/total": state.tokensTotal,
      },
      { "tokens/per_second": tokensPerSecond, "time/step_seconds": seconds } satisfies SftMetrics,
    );
    if (isSaving) await save(measured?.loss);
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
      : stoppedMessage(state.step, totalSteps, `hone train ${method.name} --resume ${recorder.id}`),
  };
}

interface Update {
  readonly state: LoopState;
  readonly gradient: BatchGradient;
  readonly learningRate: number;
  readonly gradNorm: number | undefined;
}

async function updateOnce<R extends LoopRow>(
  options: RunRowsOptions<R>,
  plan: BatchPlan,
  state: LoopState,
  totalSteps: number,
): Promise<Update> {
  const { client, config, method, train } = options;
  const { rows: indices, next } = plan.batchAt(state.cursor);
  const rows = indices.map((i) => train[i]!);
  const step = state.step + 1;
  const gradient = await method.gradient(rows, step);
  const { loss } = gradient;
  if (!Number.isFinite(loss)) throw brokenLoss(options, { step, loss, rows, broken: gradient.broken });

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
    state: { ...state, step, cursor: next, tokensTotal: state.tokensTotal + gradient.tokens },
    gradient,
    learningRate,
    gradNorm,
  };
}

const REMEDY =
  "The last checkpoint is untouched; resume from it with a lower learningRate, or look at the rows";

function brokenLoss<R extends LoopRow>(
  options: RunRowsOptions<R>,
  found: {
    readonly step: number;
    readonly loss: number;
    readonly rows: readonly LoopRow[];
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
function namesOf({ trainPath }: { readonly trainPath: string }, rows: readonly LoopRow[]): string {
  const named = rows.slice(0, 8).map(({ line }) => `${trainPath}:${line}`);
  return named.join(", ") + (rows.length > named.length ? ` and ${rows.length - named.length} more` : "");
}

/** Of the weights as they are; called where the method can validate. */
async function validate<R extends LoopRow>(
  { method, onProgress }: RunRowsOptions<R>,
  step: number,
): Promise<Validation> {
  const measured = await method.validate!();
  const { loss } = measured;
  if (!Number.isFinite(loss)) {
    throw new UserError(
      `Cannot go on after step ${step}: the validation loss is ${loss}, expected a finite number. ${REMEDY}`,
    );
  }
  onProgress?.({ kind: "validation", step, loss });
  return measured;
}

async function writeCheckpoint<R extends LoopRow>(
  directory: string,
  { client, method }: RunRowsOptions<R>,
  state: LoopState,
): Promise<void> {
  await client.saveState(join(directory, CLIENT_STATE));
  writeLoopState(directory, method.name, state);
}

async function openState<R extends LoopRow>(
  { client, method, resumeFrom }: RunRowsOptions<R>,
  terms: LoopTerms,
): Promise<LoopState> {
  if (resumeFrom === undefined) return { version: 1, step: 0, cursor: START, tokensTotal: 0, terms };
  const state = readLoopState(resumeFrom, method.name, terms);
  await client.loadState(join(resumeFrom, CLIENT_STATE));
  return state;
}

function termsOf<R extends LoopRow>({ config, method }: RunRowsOptions<R>, totalSteps: number): LoopTerms {
  const { batchSize, seed, learningRate, schedule } = config;
  const { warmupFraction, weightDecay, beta1, beta2, eps, gradClipNorm } = config;
  return {
    ...method.terms,
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
function epochOf({ cursor }: LoopState, { rowCount }: BatchPlan): number {
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

function stoppedMessage(step: number, totalSteps: number, resume: string): string {
  return step === 0
    ? `Stopped before the first of ${totalSteps} steps`
    : `Stopped after step ${step} of ${totalSteps}, with a checkpoint. Resume with: ${resume}`;
}
