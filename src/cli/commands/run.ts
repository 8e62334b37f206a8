/** `hone run`: does a recipe's steps in order, and of those only what is not done yet. */
import { existsSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { UserError } from "../../base/index.js";
import { Recipe, type RecipeProgress, runRecipe } from "../../pipeline/index.js";
import { readProvenance } from "../../runs/index.js";
import { loadConfig } from "../../training/index.js";
import { parseOverride } from "../config-overrides.js";
import { createOutput, formatDuration, type Output, type OutputOptions } from "../output.js";
import { recipeActions } from "../recipe-actions/index.js";

export interface RunRecipeCommandOptions extends OutputOptions {
  readonly quick: boolean;
  readonly set: readonly string[];
  readonly until?: string;
  readonly output?: string;
}

const RECIPE_NAME = "recipe.yaml";

/** @throws UserError for what the user can mend, `CancelledError` when Ctrl-C stopped it */
export async function run(given: string, options: RunRecipeCommandOptions): Promise<void> {
  const path = recipePath(given);
  const recipe = loadConfig(path, Recipe);
  const settings = Object.fromEntries(
    options.set.map((text) => {
      const { keys, value } = parseOverride(text);
      // What YAML parses to is plain data.
      return [keys.join("."), value as Recipe["settings"][string]];
    }),
  );
  const output = createOutput(options);
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  process.on("SIGINT", abort).on("SIGTERM", abort);
  const started = performance.now();
  try {
    const directory = resolve(options.output ?? join(path, "../build"));
    const results = await runRecipe({
      ...{
        recipe,
        path,
        output: directory,
        settings,
        isQuick: options.quick,
        actions: recipeActions({ json: output.isJson }),
      },
      until: options.until,
      codeVersion: readProvenance(directory).versions["hone-ai"] ?? "unknown",
      clock: () => performance.now(),
      now: () => new Date(),
      signal: controller.signal,
      onProgress: (event) => report(output, event),
    });
    const seconds = (performance.now() - started) / 1000;
    output.record("results", { results, seconds });
    output.print(
      `\n${recipe.name} is done, after ${formatDuration(seconds)}. Everything is in ${shortPath(directory)}`,
    );
  } finally {
    process.off("SIGINT", abort).off("SIGTERM", abort);
  }
}

function recipePath(given: string): string {
  const path = resolve(given);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() === true && existsSync(join(path, RECIPE_NAME))) return join(path, RECIPE_NAME);
  if (found?.isFile() === true) return path;
  throw new UserError(
    `Cannot run ${given}: ${found === undefined ? "it does not exist" : `it has no ${RECIPE_NAME}`}, expected a recipe such as recipes/text-to-sql`,
  );
}

function report(output: Output, event: RecipeProgress): void {
  const { kind, ...fields } = event;
  output.record(`step_${kind}`, fields);
  if (event.kind === "begun") output.print(`\n── ${event.step} (step ${event.index + 1} of ${event.count})`);
  if (event.kind === "reused")
    output.print(`── ${event.step}: done before, in ${formatDuration(event.seconds)}`);
  if (event.kind === "line") output.print(event.line);
  if (event.kind === "done") output.print(`── ${event.step}: ${formatDuration(event.seconds)}`);
}

function shortPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short.length < path.length && !short.startsWith("..") ? short : path;
}
