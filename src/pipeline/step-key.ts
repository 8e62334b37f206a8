/**
 * What makes a step's result: the code's version, what the step was given, and the keys of the steps before it that it
 * refers to. Same key, same result; so a finished step is not done again. Pure.
 */
import { createHash } from "node:crypto";
import type { Arguments } from "./recipe.js";

export interface StepIdentity {
  /** Changes when the action's code gives another result. */
  readonly codeVersion: string;
  readonly uses: string;
  /** What the step is given, references to settings replaced, those to earlier steps as written. */
  readonly arguments: Arguments;
  /** Earlier steps that the arguments refer to, with their keys. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Content hashes of files from outside the recipe, by path. */
  readonly files: Readonly<Record<string, string>>;
}

export function stepKey(identity: StepIdentity): string {
  return createHash("sha256").update(canonical(identity)).digest("hex");
}

/** JSON with the keys of every object in alphabetical order. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}
