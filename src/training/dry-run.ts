/** A look before the run: what is trained on, the arithmetic of a batch, two real updates on ten rows. Writes nothing. */
import { UserError } from "../base/index.js";
import type { DatasetStatistics, TrainingRow } from "../datasets/index.js";
import type { TrainingClient } from "../protocol/index.js";
import type { Tokenizer } from "../text/index.js";
import { crossEntropyBatch, gradNormOf, LOSS_FORMULA, lossOf } from "./cross-entropy.js";
import { totalStepsOf } from "./row-loop.js";
import type { SftConfig } from "./sft-config.js";
import { previewSftData, type SftData } from "./sft-data.js";

const DRY_ROWS = 10;

export interface DryRunOptions {
  readonly client: TrainingClient;
  readonly tokenizer: Tokenizer;
  readonly data: SftData;
  readonly config: SftConfig;
  /** Milliseconds of a monotonic clock. */
  readonly clock: () => number;
  /** The engine's own estimate of its peak, in bytes. */
  readonly memoryBytes?: number;
  /** Marks trained tokens with colour. @default false */
  readonly colour?: boolean;
}

export interface DryRunReport {
  readonly totalSteps: number;
  /** Loss of the ten rows before the update. */
  readonly loss: number;
  readonly gradNorm?: number;
  readonly tokensPerSecond: number;
  /** Of the whole run, at the speed of the second step: the first one compiles. */
  readonly secondsEstimate: number;
  readonly memoryBytes?: number;
  /** All of it for people. */
  readonly text: string;
}

/** Updates `client`, which is of no use for training afterwards. */
export async function dryRunSft(options: DryRunOptions): Promise<DryRunReport> {
  const { client, config, data, clock, memoryBytes } = options;
  const rows = data.train.slice(0, DRY_ROWS);
  const batch = crossEntropyBatch(rows);
  const output = await client.forwardBackward(batch.datums, "cross_entropy");
  const loss = lossOf(batch.datums, output);
  if (!Number.isFinite(loss)) {
    throw new UserError(
      `Cannot train ${config.model}: the loss of the first ${rows.length} rows of ${config.data.train} is ${loss}, expected a finite number. Look at the model's weights (hone doctor) and at the rows`,
    );
  }
  const { beta1, beta2, eps, weightDecay, gradClipNorm, learningRate } = config;
  const adam = { learningRate, beta1, beta2, eps, weightDecay, gradClipNorm };
  const { metrics } = await client.optimStep(adam);
  const started = clock();
  await client.forwardBackward(batch.datums, "cross_entropy");
  await client.optimStep(adam);
  const tokensPerSecond = batch.tokens / ((clock() - started) / 1000);
  const totalSteps = totalStepsOf(data.train.length, config);
  const trainedTokens = meanTokens(data.train) * config.batchSize * totalSteps;
  const gradNorm = gradNormOf(metrics);
  const report = {
    totalSteps,
    loss,
    ...(gradNorm === undefined ? {} : { gradNorm }),
    tokensPerSecond,
    secondsEstimate: trainedTokens / tokensPerSecond,
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
  };
  return { ...report, text: textOf(options, report) };
}

function textOf(options: DryRunOptions, report: Omit<DryRunReport, "text">): string {
  const { data, config, tokenizer, colour = false } = options;
  const { gradNorm, memoryBytes } = report;
  const perStep = meanTokens(data.train) * config.batchSize;
  const epochSteps = Math.ceil(data.train.length / config.batchSize);
  const uniform = Math.log(tokenizer.vocabSize);
  const lines: readonly (readonly [string, string])[] = [
    ["rows to train on", `${data.train.length} (${data.validation.length} for validation)`],
    ...statisticsLines(data.dataset.statistics),
    ["rows per step", `${config.batchSize}`],
    ["tokens per step", `about ${Math.round(perStep)}`],
    [
      "micro-batches per step",
      `about ${Math.ceil(perStep / config.microBatchTokens)} of ${config.microBatchTokens} tokens`,
    ],
    ["steps per epoch", `${data.train.length} ÷ ${config.batchSize} = ${epochSteps}`],
    [
      "steps",
      `${report.totalSteps}${config.maxSteps === report.totalSteps ? " (maxSteps)" : ` in ${config.epochs} epochs`}`,
    ],
    [
      "learning rate",
      `${config.learningRate} (${config.lora === undefined ? "all weights" : `LoRA rank ${config.lora.rank}`})`,
    ],
    ["loss now", `${report.loss.toFixed(4)} nats per token (guessing evenly: ${uniform.toFixed(4)})`],
    ...(gradNorm === undefined ? [] : [["gradient norm", gradNorm.toPrecision(4)] as const]),
    ...(memoryBytes === undefined
      ? []
      : [["memory", `about ${(memoryBytes / 2 ** 30).toFixed(2)} GiB`] as const]),
    ["speed", `${Math.round(report.tokensPerSecond)} tokens per second in the second step`],
    ["time", `about ${roughDuration(report.secondsEstimate)}, validation not counted`],
  ];
  const warnings = [
    ...data.warnings,
    ...(report.loss > uniform + 1
      ? ["The loss is above that of guessing evenly: does the tokenizer belong to the model?"]
      : []),
  ];
  return [
    previewSftData(data, tokenizer, { colour }),
    alignedLines(lines),
    LOSS_FORMULA,
    ...warnings.map((warning) => `Warning: ${warning}`),
  ].join("\n\n");
}

function statisticsLines(statistics: DatasetStatistics): [string, string][] {
  const { tokens, supervisedTokens, length, truncatedRows, rows } = statistics;
  const share = ((100 * supervisedTokens) / tokens).toFixed(1);
  return [
    ["tokens", `${tokens}, ${supervisedTokens} with a loss (${share} %)`],
    [
      "tokens of a row",
      `${length.min} to ${length.max}, median ${Math.round(length.median)}, 95 % up to ${Math.ceil(length.p95)}`,
    ],
    ["rows truncated", `${truncatedRows} of ${rows}`],
  ];
}

function meanTokens(rows: readonly TrainingRow[]): number {
  return rows.reduce((sum, { tokens_T }) => sum + tokens_T.length, 0) / rows.length;
}

/** Names and values in two columns. */
export function alignedLines(lines: readonly (readonly [string, string])[]): string {
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n");
}

/** In the unit that people would take. */
export function roughDuration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.ceil(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
