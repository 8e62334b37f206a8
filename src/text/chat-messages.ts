/** Chat messages at the door: their fields are checked, and their own text is found or marked. */
import { UserError } from "../base/index.js";
import type { Marks } from "./marked-rendering.js";
import type { ChatMessage } from "./tokenizer.js";
import { describe, isRecord } from "./tokenizer-json.js";

/** Fields in which an assistant's reasoning travels beside its content. */
const REASONING_FIELDS = ["reasoning_content", "reasoning", "thinking"];
const TOOL_ROLES = ["tool", "ipython", "function", "observation"];

/** @throws UserError naming the message */
export function checkMessages(messages: readonly ChatMessage[]): void {
  if (messages.length === 0)
    throw new UserError("Cannot render chat: it has no messages, expected at least one");
  messages.forEach((message: unknown, i) => {
    if (!isRecord(message) || typeof message["role"] !== "string") {
      throw new UserError(
        `Cannot render chat: message ${i} is ${JSON.stringify(message)?.slice(0, 80)}, expected an object with "role" and "content"`,
      );
    }
    const content = message["content"];
    if (content !== undefined && content !== null && typeof content !== "string") {
      throw new UserError(
        `Cannot render chat: content of message ${i} (${message["role"]}) is ${describe(content)}, expected a string or null`,
      );
    }
  });
}

export function isAssistant(message: ChatMessage): boolean {
  return message.role === "assistant";
}

export function isTool(message: ChatMessage): boolean {
  return TOOL_ROLES.includes(message.role);
}

/** A message's content with the white space at its edges apart. */
export interface ContentParts {
  readonly lead: string;
  readonly core: string;
  readonly trail: string;
}

export function contentParts(message: ChatMessage): ContentParts {
  const content = message.content ?? "";
  const core = content.replace(EDGES, "");
  const start = core === "" ? content.length : content.indexOf(core);
  return { lead: content.slice(0, start), core, trail: content.slice(start + core.length) };
}

/** What either of JavaScript and Python takes for white space. */
const SPACE = "[\\s\\u0085\\u001c-\\u001f]+";
const EDGES = new RegExp(`^${SPACE}|${SPACE}$`, "gu");

/** Has the assistant written more than content: tool calls or reasoning? */
export function hasMoreThanContent(message: ChatMessage): boolean {
  return (
    toolCallsOf(message).length > 0 ||
    REASONING_FIELDS.some((field) => typeof message[field] === "string" && message[field] !== "")
  );
}

/** Names of the functions that the message calls. */
export function calledNames(message: ChatMessage): string[] {
  return toolCallsOf(message).map((call) => String(functionOf(call)["name"]));
}

/** Reasoning that the message carries beside its content. */
export function reasoningOf(message: ChatMessage): string[] {
  return REASONING_FIELDS.flatMap((field) => {
    const text = message[field];
    return typeof text === "string" && text !== "" ? [text.replace(EDGES, "")] : [];
  });
}

/** The message with marks around its content, inside the white space that a template may trim. */
export function markContent(message: ChatMessage, marks: Marks): ChatMessage {
  const { lead, core, trail } = contentParts(message);
  return { ...message, content: lead + marks.start + core + marks.end + trail };
}

/** The message with marks around the name of every function that it calls. */
export function markCalls(message: ChatMessage, marks: Marks): ChatMessage {
  return withFunctions(message, (called) => ({
    ...called,
    name: `${marks.start}${String(called["name"])}${marks.end}`,
  }));
}

/** The message with a mark in the arguments of every call: not parity, only proof that arguments are rendered. */
export function markArguments(message: ChatMessage, marks: Marks): ChatMessage {
  return withFunctions(message, (called) => {
    const given = called["arguments"];
    const marked = isRecord(given) ? { ...given, [marks.start]: 0 } : `${String(given)}${marks.start}`;
    return { ...called, arguments: marked };
  });
}

type Fields = Readonly<Record<string, unknown>>;

function toolCallsOf(message: ChatMessage): readonly Fields[] {
  const calls = message["tool_calls"];
  return Array.isArray(calls) ? calls.filter(isRecord) : [];
}

/** Calls come as `{"function": {"name", "arguments"}}` or without the wrapping. */
function functionOf(call: Fields): Fields {
  return isRecord(call["function"]) ? call["function"] : call;
}

function withFunctions(message: ChatMessage, change: (called: Fields) => Fields): ChatMessage {
  const calls = toolCallsOf(message).map((call) =>
    isRecord(call["function"]) ? { ...call, function: change(call["function"]) } : change(call),
  );
  return { ...message, tool_calls: calls };
}
