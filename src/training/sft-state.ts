/** What the SFT loop must know to go on as if it had never stopped. Weights and moments are the client's. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/index.js";
import { DataCursor } from "../datasets/index.js";

/** The client's own state, inside a checkpoint directory. */
export const CLIENT_STATE = "state";
const LOOP_STATE = "sft.json";

const SftState = z.strictObject({
  version: z.literal(1),
  /** Updates done. */
  step: z.int().nonnegative(),
  /** The next row. The order is a function of seed and epoch, so no random state is needed. */
  cursor: DataCursor,
  tokensTotal: z.int().nonnegative(),
  /** What must be the same in the run that goes on. */
  terms: z.record(z.string(), z.union([z.string(), z.number()])),
});
export type SftState = z.infer<typeof SftState>;
export type SftTerms = SftState["terms"];

export function writeSftState(directory: string, state: SftState): void {
  writeFileSync(join(directory, LOOP_STATE), `${JSON.stringify(state, null, 1)}\n`);
}

/**
 * The state of a checkpoint, for a run on `terms`.
 *
 * @throws UserError when the checkpoint is not of this loop, or was made on other terms.
 */
export function readSftState(directory: string, terms: SftTerms): SftState {
  const path = join(directory, LOOP_STATE);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (thrown) {
    throw new UserError(
      `Cannot resume from ${directory}: ${LOOP_STATE} cannot be read, expected a checkpoint of SFT`,
      {
        cause: thrown,
      },
    );
  }
  const parsed = SftState.safeParse(json);
  if (!parsed.success) {
    throw new UserError(
      `Cannot resume from ${directory}: ${LOOP_STATE} has another form, expected version 1`,
      {
        cause: parsed.error,
      },
    );
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
