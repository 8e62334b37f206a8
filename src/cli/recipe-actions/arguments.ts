/** What a recipe gives an action, checked: a fault names the step's argument. */
import type { z } from "zod";
import { parseSettings } from "../../base/index.js";
import type { Arguments } from "../../pipeline/index.js";

/** @throws UserError listing every fault */
export function parseArguments<S extends z.ZodType>(
  schema: S,
  given: Arguments,
  action: string,
): z.output<S> {
  return parseSettings(schema, leftOut(given), `Cannot do ${action}`);
}

/** Without the arguments that are null: a recipe's setting says so that there is none. */
export function leftOut(given: Arguments): Arguments {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
}
