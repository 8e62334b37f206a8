/** A look before the run: pairs as the model sees them, the arithmetic of a batch, two real updates. Writes nothing. */
import type { PreferenceLoss } from "../../algorithms/index.js";
import { UserError } from "../../base/index.js";
import { previewRows, type TrainingRow } from "../../datasets/index.js";
import type { TrainingClient } from "../../protocol/index.js";
import type { Tokenizer } from "../../text/index.js";
import { gradNormOf } from "../cross-entropy.js";
import { alignedLines, roughDuration } from "../dry-run.js";
import { totalStepsOf } from "../row-loop.js";
import type { PairData } from "./pair-data.js";
import type { PairRow } from "./pair-rows.js";
import type { PreferenceConfig } from "./preference-config.js";
import { datumsOf, tokenCount } from "./preference-loop.js";
import { wholeMetrics } from "./preference-metrics.js";
import { type ReferenceSource, referenceLogprobs, withLogprobs } from "./reference.js";

const DRY_PAIRS = 10;
const PREVIEW_PAIRS = 2;

export interface PreferenceDryRunOptions {
  readonly client: TrainingClient;
  readonly tokenizer: Tokenizer;
  readonly data: PairData;
  readonly config: PreferenceConfig;
  readonly loss: PreferenceLoss;
  /** Where the loss needs one. */
  readonly reference?: ReferenceSource | undefined;
  /** Milliseconds of a monotonic clock. */
  readonly clock: () => number;
  /** The engine's own estimate of its peak, in bytes. */
  readonly memoryBytes: number;
  /** Marks answers with colour. @default false */
  readonly colour?: boolean;
}

export interface PreferenceDryRunReport {
  readonly totalSteps: number;
  /** Of the first pairs before the update: loss, rewards and the rest by TRL's names. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly gradNorm?: number;
  readonly tokensPerSecond: number;
  /** Of the whole run, at the speed of the second step: the first one compiles. */
  readonly secondsEstimate: number;
  /** All of it for people. */
  readonly text: string;
}

/** Updates `client`, which is of no use for training afterwards. */
export async function dryRunPreferences(options: PreferenceDryRunOptions): Promise<PreferenceDryRunReport> {
  const { client, config, data, loss, reference, clock } = options;
  const first = data.train.slice(0, DRY_PAIRS);
  const rows =
    reference === undefined
      ? first
      : withLogprobs(first, await referenceLogprobs(first, reference, { batchSize: config.batchSize }));
  const datums = datumsOf(rows, loss);
  const { lossFn, lossFnConfig } = loss;
  const output = await client.forwardBackward(datums, lossFn, { lossFnConfig });
  const metrics = wholeMetrics([{ metrics: output.metrics, count: rows.length }]);
  if (!Number.isFinite(metrics["loss"])) {
    throw new UserError(
      `Cannot train ${config.model}: the loss of the first ${rows.length} pairs of ${config.data.train} is ${metrics["loss"]}, expected a finite number. Look at the model's weights (hone doctor) and at the pairs`,
    );
  }
  const { beta1, beta2, eps, weightDecay, gradClipNorm, learningRate } = config;
  const adam = { learningRate, beta1, beta2, eps, weightDecay, gradClipNorm };
  const gradNorm = gradNormOf((await client.optimStep(adam)).metrics);
  const started = clock();
  await client.forwardBackward(datums, lossFn, { lossFnConfig });
  await client.optimStep(adam);
  const tokensPerSecond = tokenCount(rows) / ((clock() - started) / 1000);
  const totalSteps = totalStepsOf(data.train.length, config);
  const perStep = (tokenCount(data.train) / data.train.length) * config.batchSize;
  const report = {
    totalSteps,
    metrics,
    ...(gradNorm === undefined ? {} : { gradNorm }),
    tokensPerSecond,
    secondsEstimate: (perStep * totalSteps) / tokensPerSecond,
  };
  return { ...report, text: textOf(options, report, perStep) };
}

/** The first pairs, chosen above rejected, the answers' tokens marked: shown before every run. */
export function previewPairs(
  rows: readonly PairRow[],
  tokenizer: Tokenizer,
  { colour = false }: { readonly colour?: boolean } = {},
): string {
  const shown = rows.slice(0, PREVIEW_PAIRS).flatMap((row) =>
    (["chosen", "rejected"] as const).map((side) => {
      const { tokens_T, lossMask_T } = row[side];
      const { line, promptKey } = row;
      const preview: TrainingRow = {
        tokens_T: Int32Array.from(tokens_T),
        lossMask_T: Uint8Array.from(lossMask_T),
        ...{ line, promptKey },
      };
      return `${side}: ${previewRows([preview], tokenizer, { colour })}`;
    }),
  );
  const head = `The first ${shown.length / 2} pairs; the answers' tokens are ${colour ? "green" : "in «…»"}:`;
  return [head, ...shown].join("\n\n");
}

function textOf(
  { data, config, tokenizer, memoryBytes, colour = false }: PreferenceDryRunOptions,
  report: Omit<PreferenceDryRunReport, "text">,
  tokensPerStep: number,
): string {
  const { pairs, truncated, tied, length, tokens, answerTokens } = data.statistics;
  const lines: readonly (readonly [string, string])[] = [
    ["pairs to train on", `${data.train.length} (${data.validation.length} for validation) of ${pairs}`],
    ["tokens", `${tokens} with both prompts, ${answerTokens} of answers`],
    [
      "tokens of prompt and answer",
      `${length.min} to ${length.max}, median ${Math.round(length.median)}; ${truncated} pairs cut at ${config.maxLength}`,
    ],
    ["pairs that are ties", `${tied}`],
    ["pairs per step", `${config.batchSize}`],
    ["tokens per step", `about ${Math.round(tokensPerStep)}, prompts of a pair computed once`],
    ["steps", `${report.totalSteps}`],
    [
      "learning rate",
      `${config.learningRate} (${config.lora === undefined ? "all weights" : `LoRA rank ${config.lora.rank}`})`,
    ],
    ...Object.entries(report.metrics).map(([name, value]) => [`${name} now`, value.toFixed(4)] as const),
    ...(report.gradNorm === undefined ? [] : [["gradient norm", report.gradNorm.toPrecision(4)] as const]),
    ["memory", `about ${(memoryBytes / 2 ** 30).toFixed(2)} GiB`],
    ["speed", `${Math.round(report.tokensPerSecond)} tokens per second in the second step`],
    ["time", `about ${roughDuration(report.secondsEstimate)}, validation and reference not counted`],
  ];
  return [
    previewPairs(data.train, tokenizer, { colour }),
    alignedLines(lines),
    ...data.warnings.map((warning) => `Warning: ${warning}`),
  ].join("\n\n");
}
