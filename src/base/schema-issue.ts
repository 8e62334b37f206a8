/** A zod issue in the words of our errors: where, what was found, what was expected. Knows no file and no schema. */
import type { z } from "zod";

export interface SchemaIssue {
  readonly path: readonly (string | number)[];
  /** For example `text "three"`; "missing" where there is nothing. */
  readonly found: string;
  readonly expected: string;
  /** The whole sentence of a hand-written refinement; then `expected` is empty. */
  readonly sentence?: string;
  /** Keys that the schema does not know, where that is the issue. */
  readonly unknownKeys?: readonly string[];
}

/** Explains `issue` about `value`, the value that was parsed. Of a union, the alternative that was meant. */
export function describeIssue(issue: z.core.$ZodIssue, value: unknown): SchemaIssue {
  const path = issue.path.map((part) => (typeof part === "symbol" ? String(part) : part));
  const actual = valueAt(value, path);
  const found = describeValue(actual);
  switch (issue.code) {
    case "unrecognized_keys":
      return { path, found, expected: "", unknownKeys: issue.keys };
    case "invalid_union":
      return describeUnion(issue, actual, path);
    case "custom":
      return { path, found, expected: "", sentence: issue.message };
    default:
      return { path, found, expected: expectedBy(issue) };
  }
}

/** `messages[1].content` of `["messages", 1, "content"]`. */
export function formatPath(path: readonly (string | number)[]): string {
  return path
    .map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join("");
}

/** What a value is, short enough for a message. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : `a list of ${value.length}`;
  if (typeof value === "string") {
    return value === ""
      ? "empty text"
      : `text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  }
  return typeof value === "object" ? "an object" : `${value}`;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};

function expectedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return TYPE_NAMES[issue.expected] ?? issue.expected;
    case "invalid_value":
      return issue.values.length === 1
        ? JSON.stringify(issue.values[0])
        : `one of ${issue.values.map((allowed) => JSON.stringify(allowed)).join(", ")}`;
    case "too_small":
      return amount(issue.origin, issue.inclusive === false ? "more than" : "at least", issue.minimum);
    case "too_big":
      return amount(issue.origin, issue.inclusive === false ? "less than" : "at most", issue.maximum);
    default:
      return issue.message;
  }
}

function amount(origin: string, relation: string, limit: number | bigint): string {
  const unit = origin === "string" ? " characters" : origin === "array" ? " items" : "";
  return `${relation} ${limit}${unit}`;
}

/** The alternative whose own type fits, or all of them in one phrase when none does. */
function describeUnion(
  issue: z.core.$ZodIssue & { code: "invalid_union" },
  actual: unknown,
  path: readonly (string | number)[],
): SchemaIssue {
  const described = issue.errors.map((issues) => describeIssue(issues[0]!, actual));
  const inside = described.find((one) => one.path.length > 0 || one.unknownKeys !== undefined);
  if (inside !== undefined) return { ...inside, path: [...path, ...inside.path] };
  const expected = [...new Set(described.map((one) => one.expected))].join(" or ");
  return { path, found: describeValue(actual), expected };
}

function valueAt(value: unknown, path: readonly (string | number)[]): unknown {
  let current: unknown = value;
  for (const part of path) {
    if (typeof current !== "object" || current === null) return undefined;
    current = Reflect.get(current, part);
  }
  return current;
}
