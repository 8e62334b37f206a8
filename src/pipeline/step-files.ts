/** A step's directory and the record in it that says the step is finished: written last, whole or not at all. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { nodeDisk, replaceFile } from "../runs/index.js";
import type { Outputs } from "./action.js";

const RECORD = "step.json";

const StepRecord = z.strictObject({
  version: z.literal(1),
  key: z.string(),
  step: z.string(),
  uses: z.string(),
  outputs: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  seconds: z.number(),
  finished: z.string(),
});
export type StepRecord = z.infer<typeof StepRecord>;

/** `steps/grpo-1a2b3c4d` below the recipe's output: another key, another directory, so nothing is written over. */
export function stepDirectory(output: string, step: string, key: string): string {
  return join(output, "steps", `${step}-${key.slice(0, 12)}`);
}

/** The record of a finished step; undefined when it is not finished, or what it made is gone. */
export function finishedStep(directory: string, key: string): StepRecord | undefined {
  const path = join(directory, RECORD);
  if (!existsSync(path)) return undefined;
  const parsed = StepRecord.safeParse(jsonOf(readFileSync(path, "utf8")));
  if (!parsed.success || parsed.data.key !== key) return undefined;
  return isWhole(parsed.data.outputs, directory) ? parsed.data : undefined;
}

/** Makes the directory of a step that begins, or goes on. */
export function openStepDirectory(directory: string, { keep }: { readonly keep: boolean }): void {
  rmSync(join(directory, RECORD), { force: true });
  if (!keep) rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
}

export function writeStepRecord(directory: string, record: StepRecord): void {
  replaceFile(nodeDisk, directory, RECORD, `${JSON.stringify(record, null, 1)}\n`);
}

/** Outputs inside the step's own directory must still be there. */
function isWhole(outputs: Outputs, directory: string): boolean {
  return Object.values(outputs).every(
    (value) => typeof value !== "string" || !value.startsWith(directory) || existsSync(value),
  );
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
