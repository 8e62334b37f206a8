/**
 * Reinforcement learning with verifiable rewards: roll out, compare within groups, update, measure, guard; repeat.
 * Knows the protocol and nothing of models, and no algorithm by name. A resumed run continues bit for bit, rollouts
 * included: everything that decides a step is in the checkpoint or a pure function of it.
 */
import { join } from "node:path";
import type { EnvTask } from "../envs/index.js";
import type { TrainingClient } from "../protocol/index.js";
import { rolloutRecord, sampledTokenCount } from "../rollouts/index.js";
import type { Tokenizer } from "../text/index.js";
import { batchStatistics, invalidFraction, validGroups } from "./batch-statistics.js";
import type { CheckResult } from "./checks/index.js";
import { type Alarm, checkGuards } from "./guards/index.js";
import { CLIENT_STATE } from "./loop-state.js";
import type { RunRecorder } from "./recorder.js";
import type { RlConfig } from "./rl-config.js";
import { type RolloutSource, rollOut, rollOutStep } from "./rl-rollouts.js";
import { firstRlState, type RlState, type RlTerms, readRlState, rlTerms, writeRlState } from "./rl-state.js";
import { learn, needsTrainingLogprobs, type Reference } from "./rl-update.js";
import { validate } from "./rl-validation.js";
import { learningRateAt } from "./schedule.js";
import { refuseFailed, stepZeroChecks } from "./step-zero.js";
import { createTaskPlan } from "./task-plan.js";
import { trajectoryLogprobs } from "./trajectory-logprobs.js";

/** The keys of the configuration that the loop reads. */
export type RlLoopConfig = Omit<
  RlConfig,
  | "model"
  | "adapter"
  | "output"
  | "name"
  | "environment"
  | "lora"
  | "quantise"
  | "microBatchTokens"
  | "gradientCheckpointing"
  | "threads"
>;

export type RlProgress =
  | { readonly kind: "checks"; readonly checks: readonly CheckResult[] }
  | { readonly kind: "start"; readonly step: number; readonly totalSteps: number }
  | {
      readonly kind: "step";
      readonly step: number;
      readonly totalSteps: number;
      readonly reward: number;
      readonly tokensPerSecond: number;
      readonly secondsLeft: number;
      readonly metrics: Readonly<Record<string, number>>;
    }
  | {
      readonly kind: "validation";
      readonly step: number;
      readonly score: number;
      readonly isBest: boolean;
      readonly metrics: Readonly<Record<string, number>>;
    }
  | { readonly kind: "alarm"; readonly step: number; readonly alarm: Alarm; readonly taken: string }
  | { readonly kind: "checkpoint"; readonly step: number; readonly path: string };

/** What the loop asks of whoever keeps its records; `runs`' `Run` is one. */
export interface RlRecorder extends RunRecorder {
  /** The checkpoint with the best validation; for going back to it. */
  bestCheckpoint():
    | { readonly directory: string; readonly step: number; readonly score: number | null }
    | undefined;
  /** Keeps what was rolled out, failures too. */
  logRollouts(rollouts: readonly ReturnType<typeof rolloutRecord>[]): void;
}

export interface RunRlOptions {
  readonly client: TrainingClient;
  readonly source: RolloutSource;
  /** For the text of recorded rollouts. */
  readonly tokenizer: Tokenizer;
  /** Whether the sampler's arithmetic is not the trainer's. @default false */
  readonly isSamplerQuantised?: boolean;
  /** Needed where `settings.beta` is above 0. */
  readonly reference?: Reference | undefined;
  /** Tasks to learn from. */
  readonly tasks: readonly EnvTask[];
  /** Tasks to validate on. @default none */
  readonly validationTasks?: readonly EnvTask[];
  readonly config: RlLoopConfig;
  readonly recorder: RlRecorder;
  /** Milliseconds of a monotonic clock. */
  readonly clock: () => number;
  readonly onProgress?: (progress: RlProgress) => void;
  /** Stops after the step in hand, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** Directory of the checkpoint to go on from. */
  readonly resumeFrom?: string | undefined;
  /** How to go on with a stopped run: `hone train grpo --resume grpo-1`. */
  readonly resumeCommand: string;
}

export interface RlResult {
  /** "stopped": by a guard; the last checkpoint is of that step. */
  readonly status: "finished" | "interrupted" | "stopped";
  readonly step: number;
  readonly totalSteps: number;
  /** The best validation, where there was any. */
  readonly best?: { readonly step: number; readonly score: number };
  /** What to tell the user: the outcome and, if stopped, how to resume. */
  readonly message: string;
}

const MOST_ROLLBACKS = 2;

/**
 * Trains `client` by rewards.
 *
 * @throws UserError when a check before the first step fails, or a loss or gradient is not finite
 */
export async function runRl(options: RunRlOptions): Promise<RlResult> {
  return new RlRun(options).run();
}

/** One session of a run: what is decided once, and the state that moves. */
class RlRun {
  readonly #options: RunRlOptions;
  readonly #config: RlLoopConfig;
  readonly #terms: RlTerms;
  #state: RlState;
  #firstStep = 0;
  #busySeconds = 0;
  #savedStep = -1;

  constructor(options: RunRlOptions) {
    this.#options = options;
    this.#config = options.config;
    const { config, source, tasks, validationTasks = [] } = options;
    this.#terms = rlTerms(config, { environment: source.set.name, tasks, validationTasks });
    this.#state = firstRlState(this.#terms);
  }

  async run(): Promise<RlResult> {
    const { client, resumeFrom, signal, onProgress } = this.#options;
    const { maxSteps } = this.#config;
    if (resumeFrom !== undefined) {
      this.#state = readRlState(resumeFrom, this.#terms);
      await client.loadState(join(resumeFrom, CLIENT_STATE));
      this.#savedStep = this.#state.step;
    }
    this.#firstStep = this.#state.step;
    if (resumeFrom === undefined) await this.#begin();
    onProgress?.({ kind: "start", step: this.#state.step, totalSteps: maxSteps });
    while (this.#state.step < maxSteps && signal?.aborted !== true) {
      const ending = await this.#step();
      if (ending !== undefined) return this.#result(ending.status, ending.reason);
    }
    const isFinished = this.#state.step >= maxSteps;
    if (!isFinished && this.#savedStep !== this.#state.step && this.#state.step > this.#firstStep) {
      await this.#save(undefined);
    }
    return this.#result(isFinished ? "finished" : "interrupted");
  }

  /** Checks, and what the policy can do before it is trained. */
  async #begin(): Promise<void> {
    const { recorder, onProgress, signal } = this.#options;
    const { checks: limits } = this.#config;
    if (signal?.aborted === true) return;
    const checks = await this.#checks();
    onProgress?.({ kind: "checks", checks });
    recorder.logEvent("step_zero_checks", checks);
    if (limits.refuse) refuseFailed(checks);
    if (this.#validationTasks.length === 0) return;
    const measured = await this.#validate();
    recorder.logMetrics(0, measured.metrics, measured.machine);
    await this.#save(measured.score);
  }

  async #checks(): Promise<CheckResult[]> {
    const { client, source, reference, tasks, isSamplerQuantised = false, signal } = this.#options;
    const { checks: limits, seed, sampling } = this.#config;
    const chosen = createTaskPlan({ tasks, seed }).draw(
      { draws: 0, levels: {} },
      Math.min(limits.tasks, tasks.length),
      1,
    ).tasks;
    const config = { ...this.#config, groupSize: Math.min(2, this.#config.groupSize) };
    const groups = await rollOut(source, config, { tasks: chosen, purpose: "checks", step: 0, signal });
    const trajectories = groups
      .flatMap((group) => group.trajectories)
      .filter(({ tokens_T }) => tokens_T.length > 0);
    // A distribution that is cut off has other logprobs than the trainer; the model's own are compared then.
    const isCut = needsTrainingLogprobs({
      config: { ...this.#config, settings: { ...this.#config.settings, importanceCorrection: "off" } },
      isSamplerQuantised: false,
    });
    const temperature = isCut ? 1 : sampling.temperature;
    const trainingLogprobs = await trajectoryLogprobs(client, trajectories, { temperature });
    return stepZeroChecks({
      trajectories,
      set: source.set,
      tasks: chosen,
      seed,
      limits,
      isSamplerQuantised,
      trainingLogprobs,
      samplingLogprobs: trajectories.map((one) => (isCut ? one.rawLogprobs_T : one.logprobs_T)),
      ...(reference === undefined
        ? {}
        : {
            referenceLogprobs: await trajectoryLogprobs(reference.client, trajectories, {
              temperature,
              withoutAdapter: reference.withoutAdapter,
            }),
          }),
    });
  }

  /** One step; answers why the run ends with it, if it does. */
  async #step(): Promise<{ readonly status: "finished" | "stopped"; readonly reason: string } | undefined> {
    const {
      client,
      source,
      reference,
      tasks,
      recorder,
      clock,
      onProgress,
      isSamplerQuantised = false,
    } = this.#options;
    const config = this.#config;
    const step = this.#state.step + 1;
    const started = clock();
    const plan = createTaskPlan({ tasks, seed: config.seed, curriculum: config.curriculum });
    const rolled = await rollOutStep(source, config, {
      plan,
      cursor: this.#state.cursor,
      step,
      progress: this.#state.step / config.maxSteps,
    });
    const samplingSeconds = (clock() - started) / 1000;
    const { learningRateScale } = this.#state;
    const learningRate = learningRateScale * learningRateAt(this.#state.step, config.maxSteps, config);
    const learned = await learn({
      client,
      reference,
      config,
      isSamplerQuantised,
      groups: rolled.groups,
      state: this.#state.algorithm,
      learningRate,
      step,
      clock,
    });
    const seconds = (clock() - started) / 1000;
    this.#busySeconds += seconds;

    const everyone = rolled.all.flatMap((group) => group.trajectories);
    const trained = rolled.groups.flatMap((group) => group.trajectories);
    const statistics = batchStatistics(validGroups(rolled.all));
    const metrics: Record<string, number> = {
      ...statistics,
      ...learned.metrics,
      num_tokens: this.#state.numTokens + trained.reduce((sum, { tokens_T }) => sum + tokens_T.length, 0),
      "rollouts/total": this.#state.rollouts + everyone.length,
      "rollouts/invalid_ratio": invalidFraction(rolled.all),
      "rollouts/rounds": rolled.rounds,
      "rollouts/groups": rolled.groups.length,
      "optimizer/learning_rate": learningRate,
      "guards/learning_rate_scale": learningRateScale,
    };
    const meanLength =
      trained.length === 0
        ? 0
        : trained.reduce((sum, one) => sum + sampledTokenCount(one), 0) / trained.length;
    this.#state = {
      ...this.#state,
      step,
      cursor: rolled.cursor,
      algorithm: learned.state,
      numTokens: metrics["num_tokens"]!,
      rollouts: metrics["rollouts/total"]!,
      baseline:
        this.#state.baseline ?? (trained.length === 0 ? null : { entropy: metrics["entropy"]!, meanLength }),
    };
    const { tokenizer } = this.#options;
    recorder.logRollouts(everyone.map((trajectory) => rolloutRecord(trajectory, { step, tokenizer })));

    const tokensPerSecond =
      everyone.reduce((sum, { tokens_T }) => sum + tokens_T.length, 0) / Math.max(seconds, 1e-6);
    const secondsLeft = (this.#busySeconds / (step - this.#firstStep)) * (config.maxSteps - step);
    onProgress?.({
      kind: "step",
      step,
      totalSteps: config.maxSteps,
      reward: metrics["reward"] ?? Number.NaN,
      tokensPerSecond,
      secondsLeft,
      metrics,
    });

    const guarded = await this.#guard(metrics);
    const isLast = step === config.maxSteps || guarded !== undefined;
    const isMeasuring = this.#validationTasks.length > 0 && (isLast || isDue(step, config.validation.every));
    // Ctrl-C waits for the step, not for a whole validation after it.
    const measured = isMeasuring ? await this.#validate() : undefined;
    recorder.logMetrics(
      step,
      { ...metrics, ...measured?.metrics },
      {
        "time/step_seconds": seconds,
        "time/sampling_seconds": samplingSeconds,
        "time/logprobs_seconds": learned.logprobsSeconds,
        "time/update_seconds": learned.updateSeconds,
        "tokens/per_second": tokensPerSecond,
        ...measured?.machine,
      },
    );
    const { patience } = config.validation;
    const isPatienceOver =
      patience > 0 && measured !== undefined && this.#state.validationsSinceBest >= patience;
    if (isLast || isPatienceOver || measured?.isBest === true || isDue(step, config.saveEvery)) {
      await this.#save(measured?.score);
    }
    if (guarded !== undefined) return { status: "stopped", reason: guarded };
    if (isPatienceOver && !isLast) {
      return {
        status: "finished",
        reason: `the last ${patience} validations were no better than step ${this.#state.best!.step}'s ${this.#state.best!.score.toFixed(4)}`,
      };
    }
    return undefined;
  }

  /** Measures, says so, and remembers the best. */
  async #validate(): Promise<{
    readonly score: number;
    readonly isBest: boolean;
    readonly metrics: Readonly<Record<string, number>>;
    readonly machine: Readonly<Record<string, number>>;
  }> {
    const { source, clock, onProgress } = this.#options;
    const { step, best } = this.#state;
    const started = clock();
    const { score, metrics } = await validate(source, this.#config, { tasks: this.#validationTasks, step });
    const isBest = best === null || score > best.score + this.#config.validation.minGain;
    this.#state = isBest
      ? { ...this.#state, best: { step, score }, validationsSinceBest: 0 }
      : { ...this.#state, validationsSinceBest: this.#state.validationsSinceBest + 1 };
    onProgress?.({ kind: "validation", step, score, isBest, metrics });
    return { score, isBest, metrics, machine: { "time/validation_seconds": (clock() - started) / 1000 } };
  }

  /** Acts on the step's alarms; answers the reason when one stops the run. */
  async #guard(metrics: Readonly<Record<string, number>>): Promise<string | undefined> {
    const { recorder, onProgress } = this.#options;
    const { baseline, step } = this.#state;
    if (baseline === null) return undefined;
    const { alarms, counts } = checkGuards(
      {
        kl: metrics["kl"],
        entropy: metrics["entropy"],
        gradNorm: metrics["optimizer/grad_norm"],
        zeroVarianceFraction: metrics["frac_reward_zero_std"],
        meanLength: metrics["completions/mean_length"],
        truncatedFraction: metrics["completions/clipped_ratio"],
        invalidFraction: metrics["rollouts/invalid_ratio"],
      },
      { baseline, limits: this.#config.guards, counts: this.#state.guards },
    );
    this.#state = { ...this.#state, guards: counts };
    let stop: string | undefined;
    for (const alarm of alarms) {
      const { taken, stops } = await this.#act(alarm);
      recorder.logEvent("alarm", { step, ...alarm, taken });
      onProgress?.({ kind: "alarm", step, alarm, taken });
      if (stops) stop ??= alarm.reason;
    }
    return stop;
  }

  async #act({ action }: Alarm): Promise<{ readonly taken: string; readonly stops: boolean }> {
    if (action === "warn") return { taken: "nothing was changed", stops: false };
    if (action === "stop") return { taken: "the run stops here, with a checkpoint", stops: true };
    const learningRateScale = this.#state.learningRateScale / 2;
    if (action === "lower_lr") {
      this.#state = { ...this.#state, learningRateScale };
      return {
        taken: `the learning rate is halved, to ${learningRateScale} of the configured one`,
        stops: false,
      };
    }
    const best = this.#options.recorder.bestCheckpoint();
    if (best === undefined || best.score === null || this.#state.rollbacks >= MOST_ROLLBACKS) {
      const why =
        this.#state.rollbacks >= MOST_ROLLBACKS
          ? `the run went back ${MOST_ROLLBACKS} times already`
          : "there is no validated checkpoint to go back to";
      return { taken: `${why}, so it stops here, with a checkpoint`, stops: true };
    }
    await this.#options.client.loadState(join(best.directory, CLIENT_STATE));
    this.#state = { ...this.#state, learningRateScale, rollbacks: this.#state.rollbacks + 1, guards: {} };
    return {
      taken: `the weights go back to the best checkpoint, of step ${best.step}, and the learning rate is halved`,
      stops: false,
    };
  }

  async #save(score: number | undefined): Promise<void> {
    const { recorder, client, onProgress } = this.#options;
    const { step } = this.#state;
    const write = async (directory: string): Promise<void> => {
      await client.saveState(join(directory, CLIENT_STATE));
      writeRlState(directory, this.#state);
    };
    const { path } = await recorder.saveCheckpoint(step, write, {
      // Lower is better to the store.
      score: score === undefined ? undefined : -score,
      keepBest: this.#config.keepCheckpoints,
    });
    this.#savedStep = step;
    onProgress?.({ kind: "checkpoint", step, path });
  }

  get #validationTasks(): readonly EnvTask[] {
    const { validationTasks = [] } = this.#options;
    return validationTasks.slice(0, this.#config.validation.tasks ?? validationTasks.length);
  }

  #result(status: RlResult["status"], reason?: string): RlResult {
    const { step, best } = this.#state;
    const { maxSteps } = this.#config;
    const { resumeCommand } = this.#options;
    const measured =
      best === null ? "" : `; the best validation was ${best.score.toFixed(4)}, after step ${best.step}`;
    const messages = {
      finished: `Finished ${step} steps${reason === undefined ? "" : ` of ${maxSteps}: ${reason}`}${measured}`,
      stopped: `Stopped after step ${step} of ${maxSteps}: ${reason}${measured}. What led here is in the run's events; look, then start anew with other settings, or resume all the same with: ${resumeCommand}`,
      interrupted:
        step === 0
          ? `Stopped before the first of ${maxSteps} steps`
          : `Stopped after step ${step} of ${maxSteps}, with a checkpoint. Resume with: ${resumeCommand}`,
    };
    return {
      status,
      step,
      totalSteps: maxSteps,
      ...(best === null ? {} : { best }),
      message: messages[status],
    };
  }
}

function isDue(step: number, every: number): boolean {
  return every > 0 && step % every === 0;
}
