/**
 * What a row of training data is: messages, a prompt with its completion, or plain text. Reads files of them, decides
 * the shape once per file and refuses rows of another. Knows nothing about tokens.
 */
import { z } from "zod";
import { describeIssue, formatPath, UserError } from "../base/index.js";
import type { ChatMessage } from "../text/index.js";
import { closestName } from "./closest-name.js";
import { type ColumnMapping, mapColumns } from "./columns.js";
import { readRows } from "./rows.js";

/** A message as the Hub's data sets write it; a call of tools may come without content. */
const MessageRow = z
  .looseObject({
    role: z.string().min(1),
    content: z.string().nullish(),
    tool_calls: z.array(z.unknown()).nullish(),
  })
  .transform((message): ChatMessage => ({ ...message, content: message.content ?? null }));

/** A conversation, or one side of it. */
export const Messages = z.array(MessageRow).min(1);

/** `{"messages"}`: a whole conversation. */
export const MessagesRow = z.looseObject({ messages: Messages, tools: z.array(z.unknown()).nullish() });

/** `{"prompt", "completion"}`: both text, or both lists of messages. */
export const PromptCompletionRow = z.looseObject({
  prompt: z.union([z.string(), Messages]),
  completion: z.union([z.string(), Messages]),
  tools: z.array(z.unknown()).nullish(),
});

/** `{"text"}`: every token is trained on. */
export const TextRow = z.looseObject({ text: z.string().min(1) });

export type Shape = "messages" | "prompt_completion" | "text";

interface ExampleOrigin {
  /** The line of the file it stands on, from 1. */
  readonly line: number;
  /** Columns that take no part in training, kept for whoever wants them. */
  readonly extra: Readonly<Record<string, unknown>>;
}

export interface MessagesExample extends ExampleOrigin {
  readonly shape: "messages";
  readonly messages: readonly ChatMessage[];
  readonly tools?: readonly unknown[];
}

/** Both sides are text, or both are messages (`isConversational`). */
export interface PromptCompletionExample extends ExampleOrigin {
  readonly shape: "prompt_completion";
  readonly sides:
    | { readonly kind: "text"; readonly prompt: string; readonly completion: string }
    | {
        readonly kind: "messages";
        readonly prompt: readonly ChatMessage[];
        readonly completion: readonly ChatMessage[];
      };
  readonly tools?: readonly unknown[];
}

export interface TextExample extends ExampleOrigin {
  readonly shape: "text";
  readonly text: string;
}

export type Example = MessagesExample | PromptCompletionExample | TextExample;

const FIELDS: Readonly<Record<Shape, readonly string[]>> = {
  messages: ["messages"],
  prompt_completion: ["prompt", "completion"],
  text: ["text"],
};

/**
 * The rows of a file (JSON Lines, Parquet, a JSON array) as examples, in order. `mapping` names the columns of files that call them otherwise.
 *
 * @throws UserError with file and line for a row that is no example, is ambiguous, or differs in shape from the first.
 */
export async function* readExamples(path: string, mapping: ColumnMapping = {}): AsyncGenerator<Example> {
  let first: { readonly line: number; readonly shape: Shape; readonly kind: string } | undefined;
  for await (const { line, value } of readRows(path)) {
    const at = `${path}:${line}`;
    const example = toExample(mapColumns(requireObject(value, at), mapping, at), line, at);
    const { shape } = example;
    const kind = example.shape === "prompt_completion" ? `${example.sides.kind} on both sides` : "";
    first ??= { line, shape, kind };
    if (shape !== first.shape || kind !== first.kind) {
      throw new UserError(
        `Cannot read ${at}: the row has ${describeShape(shape, kind)}, expected ${describeShape(first.shape, first.kind)} as in line ${first.line}. Put rows of different shape into different files`,
      );
    }
    yield example;
  }
}

/** `value` as a row: an object. */
export function requireObject(value: unknown, at: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(
      `Cannot read ${at}: the row is ${Array.isArray(value) ? "a list" : JSON.stringify(value)}, expected an object such as {"prompt": …, "completion": …}`,
    );
  }
  // Rows come from JSON or Parquet, so they are plain objects and every own key is a string.
  return value as Readonly<Record<string, unknown>>;
}

/** A mapped row as an example of the shape that its columns say. */
export function toExample(row: Readonly<Record<string, unknown>>, line: number, at: string): Example {
  return parseExample(row, shapeOf(row, at), line, at);
}

function describeShape(shape: Shape, kind: string): string {
  return FIELDS[shape].map((field) => `"${field}"`).join(" and ") + (kind === "" ? "" : ` with ${kind}`);
}

function shapeOf(row: Readonly<Record<string, unknown>>, at: string): Shape {
  const present = (["messages", "prompt_completion", "text"] as const).filter((shape) =>
    FIELDS[shape].every((field) => row[field] !== undefined),
  );
  const [shape, other] = present;
  if (shape !== undefined && other !== undefined) {
    throw new UserError(
      `Cannot read ${at}: the row has both ${describeShape(shape, "")} and ${describeShape(other, "")}, expected one of them. Say which one counts in data.columns, for example columns: { ${FIELDS[shape].map((f) => `${f}: ${f}`).join(", ")} }`,
    );
  }
  if (shape !== undefined) return shape;
  const columns = Object.keys(row);
  const alone = columns.find((column) => column === "prompt" || column === "completion");
  const missing = alone === "prompt" ? "completion" : alone === "completion" ? "prompt" : undefined;
  const found = columns.length === 0 ? "no columns" : `columns ${columns.map((c) => `"${c}"`).join(", ")}`;
  const wanted =
    missing === undefined
      ? `"messages", "prompt" and "completion", or "text"`
      : `"${missing}" beside "${alone}"`;
  throw new UserError(
    `Cannot read ${at}: the row has ${found}, expected ${wanted}. ${columnRemedy(columns, missing)}`,
  );
}

const PROMPT_NAMES = ["prompt", "question", "instruction", "problem", "input", "context"];
const COMPLETION_NAMES = ["completion", "answer", "response", "output", "solution", "query", "sql", "target"];

function columnRemedy(columns: readonly string[], missing: string | undefined): string {
  for (const field of missing === undefined ? ["messages", "text"] : [missing]) {
    const meant = closestName(field, columns);
    if (meant !== undefined) return `Did you mean data.columns: { ${field}: ${meant} }?`;
  }
  const prompt = PROMPT_NAMES.find((name) => columns.includes(name)) ?? "question";
  const completion = COMPLETION_NAMES.find((name) => columns.includes(name)) ?? "answer";
  return `Name the columns in data.columns, for example columns: { prompt: ${prompt}, completion: ${completion} }`;
}

function parseExample(
  row: Readonly<Record<string, unknown>>,
  shape: Shape,
  line: number,
  at: string,
): Example {
  const used = new Set([...FIELDS[shape], "tools"]);
  const extra = Object.fromEntries(Object.entries(row).filter(([column]) => !used.has(column)));
  switch (shape) {
    case "text":
      return { shape, line, extra, text: parseRow(TextRow, row, at).text };
    case "messages": {
      const { messages, tools } = parseRow(MessagesRow, row, at);
      requireWords(messages, "messages", at);
      return { shape, line, extra, messages, ...(tools ? { tools } : {}) };
    }
    case "prompt_completion": {
      const { prompt, completion, tools } = parseRow(PromptCompletionRow, row, at);
      const withTools = tools ? { tools } : {};
      if (typeof prompt === "string" && typeof completion === "string") {
        return { shape, line, extra, sides: { kind: "text", prompt, completion }, ...withTools };
      }
      if (typeof prompt === "string" || typeof completion === "string") {
        throw new UserError(
          `Cannot read ${at}: prompt is ${typeof prompt === "string" ? "text" : "a list of messages"} and completion is ${typeof completion === "string" ? "text" : "a list of messages"}, expected the same on both sides`,
        );
      }
      requireWords(prompt, "prompt", at);
      requireWords(completion, "completion", at);
      return { shape, line, extra, sides: { kind: "messages", prompt, completion }, ...withTools };
    }
  }
}

/** `row` by `schema`, or a `UserError` that names the place and the field. */
export function parseRow<T>(schema: z.ZodType<T>, row: unknown, at: string): T {
  const parsed = schema.safeParse(row);
  if (parsed.success) return parsed.data;
  const { path, found, expected } = describeIssue(parsed.error.issues[0]!, row);
  throw new UserError(`Cannot read ${at}: ${formatPath(path)} is ${found}, expected ${expected}`);
}

/** A message needs content, unless it calls tools instead of speaking. */
export function requireWords(messages: readonly ChatMessage[], field: string, at: string): void {
  messages.forEach((message, i) => {
    const calls = message["tool_calls"];
    if (message.content !== null || (Array.isArray(calls) && calls.length > 0)) return;
    throw new UserError(
      `Cannot read ${at}: ${field}[${i}].content of role "${message.role}" is missing, expected text or tool_calls`,
    );
  });
}
