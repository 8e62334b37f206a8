/** What a loop over rows must know to go on as if it had never stopped. Weights and moments are the client's. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/index.js";
import { DataCursor } from "../datasets/index.js";

/** The client's own state, inside a checkpoint directory. */
export const CLIENT_STATE = "state";
const stateFile = (method: string): string => `${method}.json`;

const LoopState = z.strictObject({
  version: z.literal(1),
  /** Updates done. */
  step: z.int().nonnegative(),
  /** The next row. The order is a function of seed and epoch, so no random state is needed. */
  cursor: DataCursor,
  tokensTotal: z.int().nonnegative(),
  /** What must be the same in the run that goes on. */
  terms: z.record(z.string(), z.union([z.string(), z.number()])),
});
export type LoopState = z.infer<typeof LoopState>;
export type LoopTerms = LoopState["terms"];

/** `method` as the command names it: each has a file name of its own, so that none goes on with another's checkpoint. */
export function writeLoopState(directory: string, method: string, state: LoopState): void {
  writeFileSync(join(directory, stateFile(method)), `${JSON.stringify(state, null, 1)}\n`);
}

/**
 * The state of a checkpoint, for a run on `terms`.
 *
 * @throws UserError when the checkpoint is not of this loop, or was made on other terms.
 */
export function readLoopState(directory: string, method: string, terms: LoopTerms): LoopState {
  const name = stateFile(method);
  const path = join(directory, name);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (thrown) {
    throw new UserError(
      `Cannot resume from ${directory}: ${name} cannot be read, expected a checkpoint of ${method.toUpperCase()}`,
      {
        cause: thrown,
      },
    );
  }
  const parsed = LoopState.safeParse(json);
  if (!parsed.success) {
    throw new UserError(`Cannot resume from ${directory}: ${name} has another form, expected version 1`, {
      cause: parsed.error,
    });
  }
  const state = parsed.data;
  for (const [term, value] of Object.entries(terms)) {
    if (state.terms[term] === value) continue;
    throw new UserError(
      `Cannot resume from ${directory}: its step ${state.step} was made with ${term} ${state.terms[term]}, this run has ${value}, expected the same. Start a new run to change it`,
    );
  }
  return state;
}
