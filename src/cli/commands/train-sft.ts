/** `hone train sft`: supervised fine-tuning from a configuration file, or from where a stopped run was. */
import { statSync } from "node:fs";
import { totalmem } from "node:os";
import { relative, resolve } from "node:path";
import { CancelledError, UserError } from "../../base/index.js";
import { createTrainingClient, type EmbeddedTrainingClient, estimateMemory } from "../../engine/index.js";
import { openRunStore, type Run, type RunStore, readProvenance } from "../../runs/index.js";
import {
  type ChatRenderer,
  checkFits,
  createChatRenderer,
  loadTokenizer,
  type TextTokenizer,
} from "../../text/index.js";
import {
  dryRunSft,
  loadSftData,
  previewSftData,
  runSft,
  type SftConfig,
  type SftData,
  type SftProgress,
  type SftResult,
  totalStepsOf,
} from "../../training/index.js";
import { exportWeights } from "../export-weights.js";
import { watchInterrupt } from "../interrupt.js";
import { hashModel } from "../model-hash.js";
import { createOutput, formatBytes, type Output } from "../output.js";
import { createProgress, type Progress } from "../progress.js";
import { engineOptionsOf, microBatchOf, readJob, type TrainSftOptions } from "../sft-job.js";

/** @throws UserError for what the user can mend, `CancelledError` when Ctrl-C stopped the run after a step. */
export async function trainSft(options: TrainSftOptions): Promise<void> {
  const { config, resumed } = readJob(options);
  const output = createOutput(options);
  // Opened before the model is loaded: a project that cannot be written is noticed at once.
  const store = options.dryRun ? null : openRunStore(config.output);
  try {
    await trainWith(store, { options, config, resumed, output });
  } finally {
    store?.close();
  }
}

async function trainWith(
  store: RunStore | null,
  {
    options,
    config,
    resumed,
    output,
  }: {
    readonly options: TrainSftOptions;
    readonly config: SftConfig;
    readonly resumed: string | undefined;
    readonly output: Output;
  },
): Promise<void> {
  const { tokenizer, data } = await loadData(config, output);
  const engineOptions = engineOptionsOf(config);
  const memoryBytes = estimateMemory(engineOptions, microBatchOf(config, data)).total;
  announce(output, { config, data, tokenizer, memoryBytes, isPreviewed: !options.dryRun });
  const client = await createTrainingClient(engineOptions);
  try {
    checkFits(tokenizer, config.model, client.info.vocabularySize);
    output.record("engine", { ...client.info, memoryBytes });
    output.print(`Computing with ${client.info.runtime}`);
    const { maxPositions } = client.info;
    if (config.maxLength > maxPositions) {
      output.print(
        `Warning: maxLength is ${config.maxLength}, but the model was made for ${maxPositions} positions (max_position_embeddings)`,
      );
    }
    if (store === null) {
      const colour = process.stdout.isTTY === true;
      const clock = (): number => performance.now();
      const report = await dryRunSft({ client, tokenizer, data, config, clock, memoryBytes, colour });
      const { text, ...figures } = report;
      output.record("dry_run", figures);
      output.print(text);
      return;
    }
    await train({ store, client, config, data, output, resumed });
  } finally {
    await client.close();
  }
}

async function loadData(
  config: SftConfig,
  output: Output,
): Promise<{ readonly tokenizer: TextTokenizer; readonly data: SftData }> {
  if (
    config.model.endsWith(".gguf") &&
    statSync(config.model, { throwIfNoEntry: false })?.isFile() === true
  ) {
    throw new UserError(
      `Cannot train ${config.model}: a .gguf file brings no tokenizer in Hugging Face layout, expected a model directory. Run hone convert first`,
    );
  }
  const tokenizer = loadTokenizer(config.model);
  // Made when the first conversation needs it: a model for plain text has no template.
  let renderer: ChatRenderer | undefined;
  const data = await loadSftData(config, {
    tokenizer,
    renderer: {
      render: (messages, options) =>
        (renderer ??= createChatRenderer(config.model, { tokenizer })).render(messages, options),
    },
    onProgress: (path, rows) => output.record("loading", { path, rows }),
  });
  return { tokenizer, data };
}

function announce(
  output: Output,
  {
    config,
    data,
    tokenizer,
    memoryBytes,
    isPreviewed,
  }: {
    readonly config: SftConfig;
    readonly data: SftData;
    readonly tokenizer: TextTokenizer;
    readonly memoryBytes: number;
    readonly isPreviewed: boolean;
  },
): void {
  const { statistics } = data.dataset;
  output.record("data", { ...statistics, validationRows: data.validation.length, warnings: data.warnings });
  if (isPreviewed) {
    output.print(`${previewSftData(data, tokenizer, { colour: process.stdout.isTTY === true })}\n`);
    for (const warning of data.warnings) output.print(`Warning: ${warning}`);
    output.print(
      `${data.train.length} rows to train on, ${data.validation.length} for validation; ${statistics.tokens} tokens, ${statistics.supervisedTokens} with a loss`,
    );
    output.print(
      `${totalStepsOf(data.train.length, config)} steps of ${config.batchSize} rows; about ${formatBytes(memoryBytes)} of memory`,
    );
  }
  if (memoryBytes > totalmem()) {
    output.print(
      `Warning: this machine has ${formatBytes(totalmem())} of memory. Set a smaller microBatchTokens, gradientCheckpointing, lora or quantise`,
    );
  }
}

interface Training {
  readonly store: RunStore;
  readonly client: EmbeddedTrainingClient;
  readonly config: SftConfig;
  readonly data: SftData;
  readonly output: Output;
  readonly resumed: string | undefined;
}

async function train({ store, client, config, data, output, resumed }: Training): Promise<void> {
  const run = resumed === undefined ? createRun(store, config, data) : store.resumeRun(resumed);
  let status: "finished" | "interrupted" | "failed" = "failed";
  try {
    const resumeFrom = run.latestCheckpoint()?.directory;
    if (resumed !== undefined) run.logEvent("resume", { step: run.step });
    output.record("run", { id: run.id, directory: run.directory, step: run.step });
    output.print(`Run ${run.id} in ${shortPath(run.directory)}\n`);
    const result = await watched({ client, config, data, output, run, resumeFrom });
    if (result.status === "finished") await finish({ client, config, output, run, result });
    status = result.status;
    output.record("end", { id: run.id, ...result });
    if (result.status === "interrupted") throw new CancelledError(`${result.message}${whereOf(config)}`);
  } finally {
    run.close(status);
  }
}

function createRun(store: RunStore, config: SftConfig, data: SftData): Run {
  return store.createRun({
    method: "sft",
    ...(config.name === undefined ? {} : { name: config.name }),
    config,
    seed: config.seed,
    ...readProvenance(config.output),
    dataHashes: data.dataHashes,
    modelHash: hashModel(config.model),
  });
}

/** The loop with its progress shown and Ctrl-C heard. */
async function watched({
  client,
  config,
  data,
  output,
  run,
  resumeFrom,
}: Omit<Training, "resumed" | "store"> & {
  readonly run: Run;
  readonly resumeFrom: string | undefined;
}): Promise<SftResult> {
  let progress: Progress | undefined;
  const interrupt = watchInterrupt((line) =>
    progress === undefined ? output.print(line) : progress.note(line),
  );
  const onProgress = (event: SftProgress): void => {
    const { kind, ...fields } = event;
    output.record(kind, fields);
    if (output.isJson) return;
    if (event.kind === "start") {
      const { step: startStep, totalSteps } = event;
      progress = createProgress({
        startStep,
        totalSteps,
        stream: process.stdout,
        now: () => performance.now(),
      });
    }
    if (event.kind === "step") progress?.update(event);
    if (event.kind === "validation") {
      progress?.note(`step ${event.step}: validation loss ${event.loss.toFixed(4)}`);
    }
  };
  try {
    return await runSft({
      client,
      train: data.train,
      trainPath: config.data.train,
      validation: data.validation,
      config,
      recorder: run,
      clock: () => performance.now(),
      onProgress,
      signal: interrupt.signal,
      ...(resumeFrom === undefined ? {} : { resumeFrom }),
    });
  } finally {
    progress?.stop();
    interrupt.release();
  }
}

async function finish({
  client,
  config,
  output,
  run,
  result,
}: {
  readonly client: EmbeddedTrainingClient;
  readonly config: SftConfig;
  readonly output: Output;
  readonly run: Run;
  readonly result: SftResult;
}): Promise<void> {
  const name = config.lora === undefined ? "model" : "adapter";
  const directory = await exportWeights(client, run.directory, name);
  output.record("export", { directory });
  output.print(`\n${result.message}`);
  output.print(`The ${name} is in ${shortPath(directory)}`);
  const best = run.bestCheckpoint();
  if (best !== undefined && best.score !== null && best.step !== result.step) {
    output.print(
      `The validation loss was lower after step ${best.step}: ${best.score.toFixed(4)}, in ${shortPath(best.directory)}`,
    );
  }
}

/** What `--resume` must be told when the project is not where the user is. */
function whereOf({ output }: SftConfig): string {
  return resolve(output) === process.cwd() ? "" : ` --project ${shortPath(output)}`;
}

/** Relative to where the user is, when that is shorter. */
function shortPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short.length < path.length && !short.startsWith("..") ? short : path;
}
