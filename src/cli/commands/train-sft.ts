/** `hone train sft`: supervised fine-tuning from a configuration file, or from where a stopped run was. */
import { totalmem } from "node:os";
import { createTrainingClient, estimateMemory } from "../../engine/index.js";
import { openRunStore, type RunStore } from "../../runs/index.js";
import { checkFits, type TextTokenizer } from "../../text/index.js";
import {
  dryRunSft,
  loadSftData,
  previewSftData,
  runSft,
  type SftConfig,
  type SftData,
  totalStepsOf,
} from "../../training/index.js";
import { createOutput, formatBytes, type Output } from "../output.js";
import { openText, trainRows } from "../row-training.js";
import { engineOptionsOf, microBatchOf, readSftJob, type TrainSftOptions } from "../sft-job.js";

/** @throws UserError for what the user can mend, `CancelledError` when Ctrl-C stopped the run after a step. */
export async function trainSft(options: TrainSftOptions): Promise<void> {
  const { config, resumed } = readSftJob(options);
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
    const { train, validation, dataHashes } = data;
    await trainRows({
      ...{ store, client, config, dataHashes, output, resumed },
      method: "sft",
      loop: (run) => runSft({ client, train, trainPath: config.data.train, validation, config, ...run }),
    });
  } finally {
    await client.close();
  }
}

async function loadData(
  config: SftConfig,
  output: Output,
): Promise<{ readonly tokenizer: TextTokenizer; readonly data: SftData }> {
  const text = openText(config.model);
  const onProgress = (path: string, rows: number): void => output.record("loading", { path, rows });
  return { tokenizer: text.tokenizer, data: await loadSftData(config, { ...text, onProgress }) };
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
