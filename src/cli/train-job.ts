/** From the command line to a configuration: a file with its overrides, or that of a stopped run. */
import { resolve } from "node:path";
import type { z } from "zod";
import { UserError } from "../base/index.js";
import { hasRunStore, openRunStore } from "../runs/index.js";
import { type ConfigKind, loadOverriddenConfig } from "./config-overrides.js";
import type { OutputOptions } from "./output.js";

export interface TrainOptions extends OutputOptions {
  readonly config?: string;
  /** Id of a stopped run of `project`. */
  readonly resume?: string;
  readonly project: string;
  readonly set: readonly string[];
  readonly dryRun: boolean;
}

/** What is to be trained. */
export interface TrainJob<C> {
  readonly config: C;
  /** The stopped run to go on with. */
  readonly resumed: string | undefined;
}

/**
 * `method` as `hone train` calls it, which a stopped run must have.
 *
 * @throws UserError when the options contradict each other, or name nothing that can be trained
 */
export function readJob<S extends z.ZodType<{ readonly output: string }>>(
  { config: path, resume, project, set, dryRun }: TrainOptions,
  method: string,
  kind: ConfigKind<S>,
): TrainJob<z.output<S>> {
  if ((path === undefined) === (resume === undefined)) {
    throw new UserError(
      `Cannot train: expected either a configuration (-c ${method}.yaml) or a stopped run (--resume ${method}-1)`,
    );
  }
  if (path !== undefined) return { config: loadOverriddenConfig(path, set, kind), resumed: undefined };
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
    const run = store.stoppedRun(id);
    if (run.method !== method) {
      throw new UserError(
        `Cannot resume run "${id}" with train ${method}: its method is ${run.method}, expected ${method}`,
      );
    }
    // A project directory may have moved since; everything else is where it was.
    return { config: { ...kind.schema.parse(run.config), output: resolve(project) }, resumed: id };
  } finally {
    store.close();
  }
}
