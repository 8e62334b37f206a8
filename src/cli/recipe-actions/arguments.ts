/** What a recipe gives an action, checked: a fault names the step's argument. */
import type { z } from "zod";
import { UserError } from "../../base/index.js";
import { describeIssue, formatPath } from "../../datasets/index.js";
import type { Arguments } from "../../pipeline/index.js";

/** @throws UserError listing every fault */
export function parseArguments<S extends z.ZodType>(
  schema: S,
  given: Arguments,
  action: string,
): z.output<S> {
  const parsed = schema.safeParse(leftOut(given));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => {
    const { path, found, expected, sentence, unknownKeys } = describeIssue(issue, given);
    if (unknownKeys !== undefined) return `it knows no ${unknownKeys.join(", ")}`;
    return sentence ?? `${formatPath(path)} is ${found}, expected ${expected}`;
  });
  throw new UserError(`Cannot do ${action}: ${faults.join("; ")}`);
}

/** Without the arguments that are null: a recipe's setting says so that there is none. */
export function leftOut(given: Arguments): Arguments {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
}
