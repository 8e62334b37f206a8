/** Training and validation rows. Rows with one prompt stay on one side, so that validation measures unseen prompts. */
import { Random, UserError } from "../base/index.js";
import type { TrainingRow } from "./tokenize.js";

/** Anything that has a prompt: equal keys, equal prompts. */
type Prompted = Pick<TrainingRow, "promptKey">;

export interface Split<R extends Prompted = TrainingRow> {
  readonly train: readonly R[];
  readonly validation: readonly R[];
}

/**
 * Sets about `fraction` of the rows apart, whole prompts at a time, drawn by `seed`. Both sides keep the rows' order.
 *
 * @throws UserError when the rows have fewer than two different prompts.
 */
export function splitByPrompt<R extends Prompted>(
  rows: readonly R[],
  fraction: number,
  seed: number,
): Split<R> {
  const sizes = new Map<string, number>();
  for (const { promptKey } of rows) sizes.set(promptKey, (sizes.get(promptKey) ?? 0) + 1);
  if (sizes.size < 2) {
    throw new UserError(
      `Cannot set validationFraction ${fraction} apart: the ${rows.length} rows have ${sizes.size} different prompts, expected at least 2. Give data.validation a file of its own`,
    );
  }
  const wanted = Math.max(1, Math.round(fraction * rows.length));
  const held = new Set<string>();
  let count = 0;
  for (const key of new Random(seed).fork("validation split").shuffled([...sizes.keys()])) {
    const size = sizes.get(key)!;
    // A prompt that does not fit is passed over, unless nothing has been set apart yet.
    if (held.size > 0 && count + size > wanted) continue;
    if (held.size === sizes.size - 1) break;
    held.add(key);
    count += size;
    if (count >= wanted) break;
  }
  return {
    train: rows.filter(({ promptKey }) => !held.has(promptKey)),
    validation: rows.filter(({ promptKey }) => held.has(promptKey)),
  };
}

/** How many validation rows have a prompt that is trained on: a loss over them flatters. */
export function sharedPrompts({ train, validation }: Split<Prompted>): number {
  const trained = new Set(train.map(({ promptKey }) => promptKey));
  return validation.filter(({ promptKey }) => trained.has(promptKey)).length;
}
