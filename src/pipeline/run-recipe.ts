/**
 * Does a recipe's steps in order. A step whose key is known and whose outputs are there is not done again; one that
 * was interrupted goes on from what it left. One process at a time.
 */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { CancelledError, UserError } from "../base/index.js";
import { holdDirectory, sha256 } from "../runs/index.js";
import type { Action, Outputs } from "./action.js";
import { type Arguments, type Recipe, referredNames, resolveReferences, type Scope } from "./recipe.js";
import { finishedStep, openStepDirectory, stepDirectory, writeStepRecord } from "./step-files.js";
import { stepKey } from "./step-key.js";

export type RecipeProgress =
  | { readonly kind: "reused"; readonly step: string; readonly seconds: number; readonly outputs: Outputs }
  | { readonly kind: "begun"; readonly step: string; readonly index: number; readonly count: number }
  | { readonly kind: "line"; readonly step: string; readonly line: string }
  | { readonly kind: "done"; readonly step: string; readonly seconds: number; readonly outputs: Outputs };

export interface RunRecipeOptions {
  readonly recipe: Recipe;
  /** Names the recipe in messages. */
  readonly path: string;
  /** Where steps put what they make. */
  readonly output: string;
  /** Values in place of the recipe's own settings. */
  readonly settings?: Arguments;
  readonly isQuick?: boolean;
  /** The last step to do. @default all */
  readonly until?: string | undefined;
  readonly actions: Readonly<Record<string, Action>>;
  /** Version of the program, part of every key. */
  readonly codeVersion: string;
  /** Milliseconds of a monotonic clock, and the time of day. */
  readonly clock: () => number;
  readonly now: () => Date;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: RecipeProgress) => void;
}

/** Outputs of every step, by its name. */
export type RecipeResult = Readonly<Record<string, Outputs>>;

/** @throws UserError when the recipe refers to what is not there, another process runs it, or a step says so */
export async function runRecipe(options: RunRecipeOptions): Promise<RecipeResult> {
  const { recipe, path, now, actions } = options;
  const output = resolve(options.output);
  const settings = settingsOf(options);
  for (const [name, { uses }] of Object.entries(recipe.steps)) {
    if (actions[uses] === undefined) {
      throw new UserError(
        `Cannot run ${path}: step "${name}" uses "${uses}", expected one of ${Object.keys(actions).join(", ")}`,
      );
    }
  }
  const { until } = options;
  if (until !== undefined && recipe.steps[until] === undefined) {
    throw new UserError(
      `Cannot run ${path} until "${until}": there is no such step, expected one of ${Object.keys(recipe.steps).join(", ")}`,
    );
  }
  mkdirSync(output, { recursive: true });
  const release = holdDirectory(output, now().toISOString());
  try {
    const scope: Record<string, Scope[string]> = { settings };
    const keys: Record<string, string> = {};
    const outputs: Record<string, Outputs> = {};
    for (const [index, name] of Object.keys(recipe.steps).entries()) {
      const done = await doStep({ ...options, output }, { name, index, scope, keys });
      keys[name] = done.key;
      outputs[name] = done.outputs;
      scope[name] = done.outputs;
      if (name === until) break;
    }
    return outputs;
  } finally {
    release();
  }
}

function settingsOf({ recipe, path, settings = {}, isQuick = false }: RunRecipeOptions): Arguments {
  const known = Object.keys(recipe.settings);
  for (const [key, from] of [
    ...Object.keys(recipe.quick).map((key) => [key, "quick"] as const),
    ...Object.keys(settings).map((key) => [key, "--set"] as const),
  ]) {
    if (!known.includes(key)) {
      throw new UserError(
        `Cannot run ${path}: ${from} names the setting "${key}", expected one of ${known.join(", ")}`,
      );
    }
  }
  return { ...recipe.settings, ...(isQuick ? recipe.quick : {}), ...settings };
}

interface StepPlace {
  readonly name: string;
  readonly index: number;
  readonly scope: Scope;
  readonly keys: Readonly<Record<string, string>>;
}

async function doStep(
  { recipe, output, actions, codeVersion, clock, now, signal, onProgress }: RunRecipeOptions,
  { name, index, scope, keys }: StepPlace,
): Promise<{ readonly key: string; readonly outputs: Outputs }> {
  const { uses, with: given } = recipe.steps[name]!; // a key of steps
  const action = actions[uses]!; // checked before the first step
  const resolved = resolveReferences(given, scope, name) as Arguments; // an object stays one
  const inputs = referredNames(given).filter((one) => one !== "settings");
  const key = stepKey({
    codeVersion: `${codeVersion} ${action.version}`,
    uses,
    // References to earlier steps stay as written, because the paths they stand for say nothing of the content.
    arguments: resolveReferences(
      given,
      { settings: scope["settings"]!, ...selfReferring(inputs, scope) },
      name,
    ) as Arguments,
    inputs: Object.fromEntries(inputs.map((one) => [one, keys[one]!])),
    files: Object.fromEntries((action.files?.(resolved) ?? []).map((file) => [file, sha256(file)])),
  });
  const directory = stepDirectory(output, name, key);
  const known = finishedStep(directory, key);
  if (known !== undefined) {
    onProgress?.({ kind: "reused", step: name, seconds: known.seconds, outputs: known.outputs });
    return { key, outputs: known.outputs };
  }
  if (signal.aborted) throw new CancelledError(`Stopped before step "${name}"`);
  onProgress?.({ kind: "begun", step: name, index, count: Object.keys(recipe.steps).length });
  openStepDirectory(directory, { keep: action.resumes === true });
  const started = clock();
  const outputs = await action.run({
    directory,
    arguments: resolved,
    signal,
    say: (line) => onProgress?.({ kind: "line", step: name, line }),
  });
  const seconds = (clock() - started) / 1000;
  writeStepRecord(directory, {
    version: 1,
    key,
    step: name,
    uses,
    outputs: { ...outputs },
    seconds,
    finished: now().toISOString(),
  });
  onProgress?.({ kind: "done", step: name, seconds, outputs });
  return { key, outputs };
}

/** A scope in which every output of the named steps is a reference to itself. */
function selfReferring(steps: readonly string[], scope: Scope): Scope {
  return Object.fromEntries(
    steps.map((step) => [
      step,
      Object.fromEntries(Object.keys(scope[step] ?? {}).map((key) => [key, `\${${step}.${key}}`])),
    ]),
  );
}
