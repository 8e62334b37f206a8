/** `hone train dpo`, `orpo`, `cpo`, `simpo` and `reward`: learning from pairs of answers, from a configuration or a stopped run. */
import { totalmem } from "node:os";
import { createTrainingClient, estimateMemory } from "../../engine/index.js";
import { openRunStore, type Run, type RunStore } from "../../runs/index.js";
import { checkFits, type TextTokenizer } from "../../text/index.js";
import {
  dryRunPreferences,
  loadPairData,
  type PairData,
  PREFERENCE_METHODS,
  type PreferenceConfig,
  type PreferenceMethodName,
  previewPairs,
  runPreferences,
  totalStepsOf,
} from "../../training/index.js";
import { createOutput, formatBytes, type Output } from "../output.js";
import {
  openReference,
  pairMicroBatch,
  preferenceEngineOptions,
  type ReferenceJob,
  readPreferenceJob,
  referencedPairs,
} from "../preference-job.js";
import { reportReward } from "../reward-report.js";
import { openText, trainRows } from "../row-training.js";
import type { TrainOptions } from "../train-job.js";

/** @throws UserError for what the user can mend, `CancelledError` when Ctrl-C stopped the run after a step. */
export async function trainPreference(method: PreferenceMethodName, options: TrainOptions): Promise<void> {
  const { config, resumed } = readPreferenceJob(method, options);
  const output = createOutput(options);
  // Opened before the model is loaded: a project that cannot be written is noticed at once.
  const store = options.dryRun ? null : openRunStore(config.output);
  try {
    await trainWith(store, { method, config, resumed, output });
  } finally {
    store?.close();
  }
}

interface PreferenceTraining {
  readonly method: PreferenceMethodName;
  readonly config: PreferenceConfig;
  readonly resumed: string | undefined;
  readonly output: Output;
}

async function trainWith(store: RunStore | null, training: PreferenceTraining): Promise<void> {
  const { method, config, output } = training;
  const loss = PREFERENCE_METHODS[method].loss(config);
  const text = openText(config.model);
  const { tokenizer } = text;
  const onProgress = (path: string, rows: number): void => output.record("loading", { path, rows });
  const data = await loadPairData(config, { ...text, onProgress });
  const engineOptions = preferenceEngineOptions(config);
  const memoryBytes = estimateMemory(engineOptions, pairMicroBatch(config, data)).total;
  announce(output, { config, data, tokenizer, memoryBytes, isPreviewed: store !== null });
  const client = await createTrainingClient(engineOptions);
  try {
    checkFits(tokenizer, config.model, client.info.vocabularySize);
    output.record("engine", { ...client.info, memoryBytes });
    output.print(`Computing with ${client.info.runtime}`);
    const job: ReferenceJob = { config, loss, data, tokenizer, client, output };
    if (store === null) await dryRun(job, memoryBytes);
    else await train(store, training, job);
  } finally {
    await client.close();
  }
}

async function train(store: RunStore, training: PreferenceTraining, job: ReferenceJob): Promise<void> {
  const { method, config, output, resumed } = training;
  const { client, data, loss } = job;
  // Before a checkpoint is loaded: until then the policy is its own reference.
  const { train, validation, hash } = await referencedPairs(job);
  await trainRows({
    ...(method === "reward" ? { afterwards: (run: Run) => reportReward(job, run.directory) } : {}),
    ...{ store, client, method, config, output, resumed },
    dataHashes: data.dataHashes,
    loop: (run) =>
      runPreferences({
        ...{ client, method, loss, train, validation, config },
        trainPath: config.data.train,
        ...(hash === undefined ? {} : { referenceHash: hash }),
        startsAtReference: hash !== undefined && config.referenceModel === undefined,
        ...run,
      }),
  });
}

async function dryRun(job: ReferenceJob, memoryBytes: number): Promise<void> {
  const { config, loss, data, tokenizer, client, output } = job;
  const opened: { close(): Promise<void> }[] = [];
  try {
    const reference = loss.needsReference ? await openReference(job, opened) : undefined;
    const { text, ...figures } = await dryRunPreferences({
      ...{ client, tokenizer, data, config, loss, reference, memoryBytes },
      clock: () => performance.now(),
      colour: process.stdout.isTTY === true,
    });
    output.record("dry_run", { ...figures, memoryBytes });
    output.print(text);
  } finally {
    for (const one of opened) await one.close();
  }
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
    readonly config: PreferenceConfig;
    readonly data: PairData;
    readonly tokenizer: TextTokenizer;
    readonly memoryBytes: number;
    readonly isPreviewed: boolean;
  },
): void {
  const { statistics, warnings } = data;
  output.record("data", { ...statistics, validationPairs: data.validation.length, warnings });
  if (isPreviewed) {
    output.print(`${previewPairs(data.train, tokenizer, { colour: process.stdout.isTTY === true })}\n`);
    for (const warning of warnings) output.print(`Warning: ${warning}`);
    output.print(
      `${data.train.length} pairs to train on, ${data.validation.length} for validation; ${statistics.tokens} tokens, ${statistics.answerTokens} of answers`,
    );
    output.print(
      `${totalStepsOf(data.train.length, config)} steps of ${config.batchSize} pairs; about ${formatBytes(memoryBytes)} of memory`,
    );
  }
  if (memoryBytes > totalmem()) {
    output.print(
      `Warning: this machine has ${formatBytes(totalmem())} of memory. Set a smaller microBatchTokens, gradientCheckpointing, lora or quantise`,
    );
  }
}
