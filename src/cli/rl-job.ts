/** From the command line to what is trained by rewards: the configuration, or the run to resume. */
import { resolve } from "node:path";
import { UserError } from "../base/index.js";
import { hasRunStore, openRunStore } from "../runs/index.js";
import { RlConfig, withAbsoluteRlPaths } from "../training/index.js";
import { loadOverriddenConfig } from "./config-overrides.js";
import type { OutputOptions } from "./output.js";

export interface TrainRlOptions extends OutputOptions {
  readonly config?: string;
  /** Id of a stopped run of `project`. */
  readonly resume?: string;
  readonly project: string;
  readonly set: readonly string[];
  readonly dryRun: boolean;
}

export interface RlJob {
  readonly config: RlConfig;
  /** The stopped run to go on with. */
  readonly resumed: string | undefined;
}

/** @throws UserError when the options contradict each other, or name nothing that can be trained */
export function readRlJob({ config: path, resume, project, set, dryRun }: TrainRlOptions): RlJob {
  if ((path === undefined) === (resume === undefined)) {
    throw new UserError(
      "Cannot train: expected either a configuration (-c grpo.yaml) or a stopped run (--resume grpo-1)",
    );
  }
  if (path !== undefined) {
    const config = loadOverriddenConfig(path, set, {
      schema: RlConfig,
      withAbsolutePaths: withAbsoluteRlPaths,
    });
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
    const parsed = RlConfig.safeParse(config);
    if (!parsed.success) {
      throw new UserError(
        `Cannot resume run "${id}" with train grpo: its method is ${method}, expected one of reinforcement learning`,
        { cause: parsed.error },
      );
    }
    // A project directory may have moved since; everything else is where it was.
    return { config: { ...parsed.data, output: resolve(project) }, resumed: id };
  } finally {
    store.close();
  }
}
