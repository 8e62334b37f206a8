/** `hone train grpo`: reinforcement learning from a configuration file, or from where a stopped run was. */
import { join, relative, resolve } from "node:path";
import { CancelledError, UserError } from "../../base/index.js";
import { createTrainingClient, type EmbeddedTrainingClient, type EngineOptions } from "../../engine/index.js";
import { openRunStore, type Run, type RunStore, readProvenance, sha256 } from "../../runs/index.js";
import { checkFits, loadTokenizer, type TextTokenizer } from "../../text/index.js";
import {
  type Reference,
  type RlConfig,
  type RlProgress,
  type RlResult,
  runRl,
} from "../../training/index.js";
import { exportWeights } from "../export-weights.js";
import { watchInterrupt } from "../interrupt.js";
import { hashModel } from "../model-hash.js";
import { createOutput, formatDuration, type Output } from "../output.js";
import { type OpenedTasks, openFormat, openTasks } from "../policy-source.js";
import { readRlJob, type TrainRlOptions } from "../rl-job.js";
import { engineOptionsOf } from "../sft-job.js";

/** @throws UserError for what the user can mend or a guard stopped, `CancelledError` when Ctrl-C did */
export async function trainGrpo(options: TrainRlOptions): Promise<void> {
  const { config, resumed } = readRlJob(options);
  const output = createOutput(options);
  const interrupt = watchInterrupt((line) => output.print(line));
  try {
    await trainRl({ config, resumed, output, signal: interrupt.signal, isDryRun: options.dryRun });
  } finally {
    interrupt.release();
  }
}

export interface RlTraining {
  readonly config: RlConfig;
  readonly resumed: string | undefined;
  readonly output: Output;
  readonly signal: AbortSignal;
  /** Loads and checks everything, does two steps, writes nothing. */
  readonly isDryRun: boolean;
}

/** What a finished run left. */
export interface RlOutcome {
  readonly id: string;
  /** The weights with the best validation: a model, or an adapter. */
  readonly directory: string;
  readonly result: RlResult;
}

/** @throws UserError, CancelledError as `trainGrpo` */
export async function trainRl(training: RlTraining): Promise<RlOutcome | undefined> {
  const { config, output } = training;
  const tokenizer = loadTokenizer(config.model);
  const { split, validationSplit, ...environment } = config.environment;
  const opened = openTasks(environment, [split, validationSplit]);
  const clients: { close(): Promise<void> }[] = [];
  try {
    announce(output, config, opened);
    const engineOptions = rlEngineOptions(config);
    const client = await createTrainingClient(engineOptions);
    clients.push(client);
    checkFits(tokenizer, config.model, client.info.vocabularySize);
    output.record("engine", { ...client.info });
    output.print(`Computing with ${client.info.runtime}`);
    const reference = await openReference(config, { client, engineOptions, clients });
    const parts = { ...training, tokenizer, opened, client, reference };
    return training.isDryRun ? await dryRun(parts) : await train(parts);
  } finally {
    for (const client of clients.reverse()) await client.close();
    await opened.close();
  }
}

interface Parts extends RlTraining {
  readonly tokenizer: TextTokenizer;
  readonly opened: OpenedTasks;
  readonly client: EmbeddedTrainingClient;
  readonly reference: Reference | undefined;
}

/** Also of the reference, where it is a model of its own. */
function rlEngineOptions(config: RlConfig): EngineOptions {
  return {
    ...engineOptionsOf(config),
    ...(config.adapter === undefined ? {} : { adapter: config.adapter }),
  };
}

/** The policy as it begins: the base of a fresh adapter, at no memory; else a second model that stays as it is. */
async function openReference(
  { settings, lora }: RlConfig,
  {
    client,
    engineOptions,
    clients,
  }: {
    readonly client: EmbeddedTrainingClient;
    readonly engineOptions: EngineOptions;
    readonly clients: { close(): Promise<void> }[];
  },
): Promise<Reference | undefined> {
  if (settings.beta === 0) return undefined;
  if (lora !== undefined) return { client, withoutAdapter: true };
  const frozen = await createTrainingClient(engineOptions);
  clients.push(frozen);
  return { client: frozen, withoutAdapter: false };
}

function announce(output: Output, config: RlConfig, { tasks }: OpenedTasks): void {
  const { promptsPerStep, groupSize, maxSteps, epochsPerBatch, updatesPerEpoch, environment } = config;
  const rollouts = promptsPerStep * groupSize;
  const figures = {
    tasks: tasks[environment.split]!.length,
    validationTasks: Math.min(
      tasks[environment.validationSplit]!.length,
      config.validation.tasks ?? Number.POSITIVE_INFINITY,
    ),
    rolloutsPerStep: rollouts,
    updatesPerStep: epochsPerBatch * updatesPerEpoch,
    rolloutsPerUpdate: rollouts / updatesPerEpoch,
    epochs: (promptsPerStep * maxSteps) / tasks[environment.split]!.length,
  };
  output.record("batch", figures);
  output.print(
    [
      `${config.algorithm} on ${figures.tasks} questions (${environment.split}), validated on ${figures.validationTasks} (${environment.validationSplit})`,
      `a step: ${promptsPerStep} prompts × ${groupSize} completions = ${rollouts} rollouts, ${figures.updatesPerStep} update${figures.updatesPerStep === 1 ? "" : "s"} of ${Math.round(figures.rolloutsPerUpdate)}`,
      `${maxSteps} steps: ${figures.epochs.toFixed(2)} passes over the questions`,
    ].join("\n"),
  );
}

async function train(parts: Parts): Promise<RlOutcome> {
  const { config, output, resumed, client } = parts;
  const store = openRunStore(config.output);
  try {
    const run = resumed === undefined ? createRun(store, config) : store.resumeRun(resumed);
    let status: "finished" | "interrupted" | "failed" = "failed";
    try {
      if (resumed !== undefined) run.logEvent("resume", { step: run.step });
      output.record("run", { id: run.id, directory: run.directory, step: run.step });
      output.print(`Run ${run.id} in ${shortPath(run.directory)}\n`);
      const resumeFrom = run.latestCheckpoint()?.directory;
      const where = resolve(config.output) === process.cwd() ? "" : ` --project ${shortPath(config.output)}`;
      const result = await loop(parts, {
        recorder: run,
        resumeFrom,
        resumeCommand: `hone train grpo --resume ${run.id}${where}`,
      });
      status = result.status === "finished" ? "finished" : "interrupted";
      output.record("end", { id: run.id, ...result });
      if (result.status === "stopped") throw new UserError(result.message);
      if (result.status === "interrupted") throw new CancelledError(result.message);
      const directory = await exportBest(client, run, config);
      output.record("export", { directory });
      output.print(`\n${result.message}\nIts weights are in ${shortPath(directory)}`);
      return { id: run.id, directory, result };
    } finally {
      run.close(status);
    }
  } finally {
    store.close();
  }
}

function createRun(store: RunStore, config: RlConfig): Run {
  const { algorithm, name, seed, environment, model, output } = config;
  const tables = join(environment.data, "tables.json");
  return store.createRun({
    method: algorithm,
    ...(name === undefined ? {} : { name }),
    config,
    seed,
    ...readProvenance(output),
    dataHashes: { [tables]: sha256(tables) },
    modelHash: hashModel(model),
  });
}

interface LoopRecords {
  readonly recorder: Parameters<typeof runRl>[0]["recorder"];
  readonly resumeFrom?: string | undefined;
  readonly resumeCommand: string;
}

async function loop(
  { config, opened, client, reference, tokenizer, output, signal }: Parts,
  records: LoopRecords,
): Promise<RlResult> {
  const { split, validationSplit } = config.environment;
  const sampler = await client.samplingClient();
  try {
    return await runRl({
      ...records,
      client,
      source: { sampler, set: opened.set, format: openFormat(config.model, tokenizer, config.promptFormat) },
      tokenizer,
      isSamplerQuantised: config.quantise !== "none",
      reference,
      tasks: opened.tasks[split]!,
      validationTasks: opened.tasks[validationSplit]!,
      config,
      clock: () => performance.now(),
      onProgress: (event) => report(output, event),
      signal,
    });
  } finally {
    await sampler.close();
  }
}

/** The weights with the best validation; the last ones where nothing was validated. */
async function exportBest(client: EmbeddedTrainingClient, run: Run, config: RlConfig): Promise<string> {
  const best = run.bestCheckpoint();
  if (best !== undefined && best.score !== null) await client.loadState(join(best.directory, "state"));
  const name = config.lora === undefined && config.adapter === undefined ? "model" : "adapter";
  return exportWeights(client, run.directory, name);
}

/** Two steps on records that are thrown away. */
async function dryRun(parts: Parts): Promise<undefined> {
  const config = {
    ...parts.config,
    maxSteps: 2,
    saveEvery: 0,
    validation: { ...parts.config.validation, every: 0, tasks: 8 },
  };
  const started = performance.now();
  const recorder = {
    id: "dry-run",
    logMetrics: () => undefined,
    logEvent: () => undefined,
    logRollouts: () => undefined,
    saveCheckpoint: async () => ({ path: "" }),
    bestCheckpoint: () => undefined,
  };
  const result = await loop({ ...parts, config }, { recorder, resumeCommand: "" });
  const seconds = (performance.now() - started) / 1000;
  parts.output.record("dry_run", { seconds, step: result.step });
  parts.output.print(`\nDry run: ${result.step} steps in ${formatDuration(seconds)}, nothing was written`);
  return undefined;
}

function report(output: Output, event: RlProgress): void {
  const { kind, ...fields } = event;
  output.record(kind, fields);
  switch (event.kind) {
    case "checks":
      for (const { passed, reason } of event.checks)
        output.print(`${passed ? "Checked" : "FAILED"}: ${reason}`);
      return;
    case "step": {
      const { step, totalSteps, reward, metrics, tokensPerSecond, secondsLeft } = event;
      if (step % 10 !== 0 && step !== 1 && step !== totalSteps) return;
      const number = (name: string, digits: number): string => metrics[name]?.toFixed(digits) ?? "–";
      output.print(
        `step ${step}/${totalSteps}  reward ${reward.toFixed(3)}  equal groups ${number("frac_reward_zero_std", 2)}  length ${number("completions/mean_length", 1)}  entropy ${number("entropy", 3)}  ${Math.round(tokensPerSecond).toLocaleString("en")} tokens/s  ${formatDuration(secondsLeft)} left`,
      );
      return;
    }
    case "validation":
      output.print(
        `step ${event.step}: validation ${event.score.toFixed(4)}${event.isBest ? ", the best so far" : ""}`,
      );
      return;
    case "alarm":
      output.print(`Alarm at step ${event.step}: ${event.alarm.reason}; ${event.taken}`);
      return;
    default:
  }
}

/** Relative to where the user is, when that is shorter. */
function shortPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short.length < path.length && !short.startsWith("..") ? short : path;
}
