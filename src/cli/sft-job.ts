/** From the command line to what is trained: the configuration, the run to resume, the engine's options. */
import { resolve } from "node:path";
import { UserError } from "../base/index.js";
import type { EngineOptions, EstimateShape } from "../engine/index.js";
import { hasRunStore, openRunStore } from "../runs/index.js";
import { SftConfig, type SftData, withAbsolutePaths } from "../training/index.js";
import { loadOverriddenConfig } from "./config-overrides.js";
import type { OutputOptions } from "./output.js";

export interface TrainSftOptions extends OutputOptions {
  readonly config?: string;
  /** Id of a stopped run of `project`. */
  readonly resume?: string;
  readonly project: string;
  readonly set: readonly string[];
  readonly dryRun: boolean;
}

/** What is to be trained. */
export interface SftJob {
  readonly config: SftConfig;
  /** The stopped run to go on with. */
  readonly resumed: string | undefined;
}

/** @throws UserError when the options contradict each other, or name nothing that can be trained */
export function readJob({ config: path, resume, project, set, dryRun }: TrainSftOptions): SftJob {
  if ((path === undefined) === (resume === undefined)) {
    throw new UserError(
      "Cannot train: expected either a configuration (-c sft.yaml) or a stopped run (--resume sft-1)",
    );
  }
  if (path !== undefined) {
    const config = loadOverriddenConfig(path, set, { schema: SftConfig, withAbsolutePaths });
    return { config, resumed: undefined };
  }
  if (set.length > 0 || dryRun) {
    throw new UserError(
      "Cannot resume with --set or --dry-run: a run goes on exactly as it began. Start a new run with -c",
    );
  }
  const id = resume!; // one of the two is given
  if (!hasRunStore(project)) {
    throw new UserError(
      `Cannot resume run "${id}": ${project} has no .hone/store.sqlite, expected the run's project directory. Name it with --project`,
    );
  }
  const store = openRunStore(project);
  try {
    const { config, method } = store.stoppedRun(id);
    if (method !== "sft") {
      throw new UserError(`Cannot resume run "${id}" with train sft: its method is ${method}, expected sft`);
    }
    // A project directory may have moved since; everything else is where it was.
    return { config: { ...SftConfig.parse(config), output: resolve(project) }, resumed: id };
  } finally {
    store.close();
  }
}

/** What the engine must be told. */
export function engineOptionsOf(
  config: Pick<
    SftConfig,
    "model" | "lora" | "quantise" | "gradientCheckpointing" | "microBatchTokens" | "seed" | "threads"
  >,
): EngineOptions {
  const { model, lora, quantise, gradientCheckpointing, microBatchTokens, seed, threads } = config;
  return {
    model,
    ...(lora === undefined ? {} : { lora }),
    ...(quantise === "none" ? {} : { quantise: { block: quantise.block, symmetric: quantise.symmetric } }),
    gradientCheckpointing,
    microBatchTokens,
    seed,
    ...(threads === undefined ? {} : { threads }),
  };
}

/** The largest micro-batch that these rows can make. */
export function microBatchOf({ microBatchTokens, batchSize }: SftConfig, data: SftData): EstimateShape {
  const { length, tokens: allTokens, supervisedTokens } = data.dataset.statistics;
  const longest = Math.max(1, length.max - 1);
  const tokens = Math.max(longest, Math.min(microBatchTokens, batchSize * longest));
  return { tokens, supervised: Math.ceil((tokens * supervisedTokens) / allTokens), longest };
}
