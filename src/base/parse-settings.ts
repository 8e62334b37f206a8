/** Settings that a program or a recipe hands over, checked against their schema: one message with every fault. */
import { z } from "zod";
import { UserError } from "./errors.js";
import { describeIssue, formatPath } from "./schema-issue.js";

/** `attempt` is what fails where they are wrong, such as `Cannot open text-to-sql`. @throws UserError listing every fault */
export function parseSettings<S extends z.ZodType>(schema: S, given: unknown, attempt: string): z.output<S> {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => {
    const { path, found, expected, sentence, unknownKeys } = describeIssue(issue, given);
    if (unknownKeys !== undefined) {
      const named = unknownKeys.map((key) => `"${formatPath([...path, key])}"`).join(", ");
      const known = keysAt(schema, path);
      return `unknown ${unknownKeys.length > 1 ? "keys" : "key"} ${named}${known.length === 0 ? "" : `, expected one of ${known.join(", ")}`}`;
    }
    const name = path.length === 0 ? "what is given" : formatPath(path);
    return sentence ?? `${name} is ${found}, expected ${expected}`;
  });
  throw new UserError(`${attempt}: ${faults.join("; ")}`);
}

/** The keys of the section at `path`, none where it is no plain section. */
function keysAt(schema: z.core.$ZodType, path: readonly (string | number)[]): string[] {
  let current: z.core.$ZodType | undefined = schema;
  for (const part of path) {
    const section: z.core.$ZodType | undefined = unwrapped(current);
    current = section instanceof z.ZodObject ? section.shape[part] : undefined;
  }
  const section = unwrapped(current);
  return section instanceof z.ZodObject ? Object.keys(section.shape) : [];
}

/** Without the defaults and absences around it. */
function unwrapped(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  let inner = schema;
  while (
    inner instanceof z.ZodPrefault ||
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodNullable
  ) {
    inner = inner.unwrap();
  }
  return inner;
}
