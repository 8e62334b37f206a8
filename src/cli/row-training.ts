/** What every training from rows does around its loop: the run and its record, progress, Ctrl-C, the weights at the end. */
import { statSync } from "node:fs";
import { relative, resolve } from "node:path";
import { CancelledError, UserError } from "../base/index.js";
import type { EmbeddedTrainingClient } from "../engine/index.js";
import { type Run, type RunStore, readProvenance } from "../runs/index.js";
import { type ChatRenderer, createChatRenderer, loadTokenizer, type TextTokenizer } from "../text/index.js";
import type { LoopProgress, LoopResult, SftConfig } from "../training/index.js";
import { exportWeights } from "./export-weights.js";
import { watchInterrupt } from "./interrupt.js";
import { hashModel } from "./model-hash.js";
import type { Output } from "./output.js";
import { createProgress, type Progress } from "./progress.js";

/** What the loop is given of the run it belongs to. */
export interface LoopContext {
  readonly recorder: Run;
  readonly clock: () => number;
  readonly onProgress: (progress: LoopProgress) => void;
  readonly signal: AbortSignal;
  readonly resumeFrom?: string;
}

export interface RowTraining {
  readonly store: RunStore;
  readonly client: EmbeddedTrainingClient;
  /** As `hone train` calls it; the run's method. */
  readonly method: string;
  readonly config: Pick<SftConfig, "model" | "output" | "name" | "seed" | "lora">;
  /** File → SHA-256 of its content. */
  readonly dataHashes: Readonly<Record<string, string>>;
  readonly output: Output;
  /** The stopped run to go on with. */
  readonly resumed: string | undefined;
  readonly loop: (context: LoopContext) => Promise<LoopResult>;
  /** Done with the trained weights once they are written, before the run counts as finished. */
  readonly afterwards?: (run: Run) => Promise<void>;
}

/** @throws CancelledError when Ctrl-C stopped the run after a step */
export async function trainRows(training: RowTraining): Promise<void> {
  const { store, config, output, resumed } = training;
  const run = resumed === undefined ? createRun(training) : store.resumeRun(resumed);
  let status: "finished" | "interrupted" | "failed" = "failed";
  try {
    const resumeFrom = run.latestCheckpoint()?.directory;
    if (resumed !== undefined) run.logEvent("resume", { step: run.step });
    output.record("run", { id: run.id, directory: run.directory, step: run.step });
    output.print(`Run ${run.id} in ${shortPath(run.directory)}\n`);
    const result = await watched(training, run, resumeFrom);
    if (result.status === "finished") {
      await finish(training, run, result);
      await training.afterwards?.(run);
    }
    status = result.status;
    output.record("end", { id: run.id, ...result });
    if (result.status === "interrupted") throw new CancelledError(`${result.message}${whereOf(config)}`);
  } finally {
    run.close(status);
  }
}

/** The model's tokenizer, and its chat template once a conversation asks for it: a model for plain text has none. */
export function openText(model: string): {
  readonly tokenizer: TextTokenizer;
  readonly renderer: ChatRenderer;
} {
  if (model.endsWith(".gguf") && statSync(model, { throwIfNoEntry: false })?.isFile() === true) {
    throw new UserError(
      `Cannot train ${model}: a .gguf file brings no tokenizer in Hugging Face layout, expected a model directory. Run hone convert first`,
    );
  }
  const tokenizer = loadTokenizer(model);
  let renderer: ChatRenderer | undefined;
  return {
    tokenizer,
    renderer: {
      render: (messages, options) =>
        (renderer ??= createChatRenderer(model, { tokenizer })).render(messages, options),
    },
  };
}

function createRun({ store, config, method, dataHashes }: RowTraining): Run {
  return store.createRun({
    method,
    ...(config.name === undefined ? {} : { name: config.name }),
    config,
    seed: config.seed,
    ...readProvenance(config.output),
    dataHashes,
    modelHash: hashModel(config.model),
  });
}

/** The loop with its progress shown and Ctrl-C heard. */
async function watched(
  { loop, output }: RowTraining,
  recorder: Run,
  resumeFrom: string | undefined,
): Promise<LoopResult> {
  let progress: Progress | undefined;
  const interrupt = watchInterrupt((line) =>
    progress === undefined ? output.print(line) : progress.note(line),
  );
  const onProgress = (event: LoopProgress): void => {
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
    return await loop({
      recorder,
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

async function finish({ client, config, output }: RowTraining, run: Run, result: LoopResult): Promise<void> {
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
function whereOf({ output }: RowTraining["config"]): string {
  return resolve(output) === process.cwd() ? "" : ` --project ${shortPath(output)}`;
}

/** Relative to where the user is, when that is shorter. */
export function shortPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short.length < path.length && !short.startsWith("..") ? short : path;
}
