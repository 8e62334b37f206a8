/** Prompts of `hone sample`: from the command line or a file, as text or as messages, turned into tokens. */
import { UserError } from "../base/index.js";
import { readJsonl } from "../datasets/index.js";
import type { ChatMessage, ChatRenderer, TextTokenizer } from "../text/index.js";
import { readTexts } from "./text-sources.js";

/** A prompt as the user gave it. */
export interface GivenPrompt {
  /** Text to continue, or messages to answer. */
  readonly prompt: string | readonly ChatMessage[];
  /** Its line in the file, counted from 1; undefined for the command line's. */
  readonly line?: number;
  /** What error messages call it. */
  readonly where: string;
}

/**
 * A `.jsonl` file has a row per prompt, with `prompt` (text) or `messages`; any other file has a prompt per line.
 *
 * @throws UserError with file and line where a row has neither
 */
export async function readPrompts(file: string): Promise<GivenPrompt[]> {
  const prompts = file.endsWith(".jsonl") ? await jsonlPrompts(file) : await linePrompts(file);
  if (prompts.length > 0) return prompts;
  throw new UserError(`Cannot sample from ${file}: it has no prompts, expected at least one`);
}

async function jsonlPrompts(file: string): Promise<GivenPrompt[]> {
  const prompts: GivenPrompt[] = [];
  for await (const { line, value } of readJsonl(file)) {
    const row = typeof value === "object" && value !== null ? new Map(Object.entries(value)) : new Map();
    const where = `${file}:${line}`;
    const prompt: unknown = row.get("messages") ?? row.get("prompt");
    if (typeof prompt === "string") prompts.push({ prompt, line, where });
    else if (isMessages(prompt)) prompts.push({ prompt, line, where });
    else {
      const columns = [...row.keys()].map((column) => `"${column}"`).join(", ") || "none";
      throw new UserError(
        `Cannot sample from ${where}: the row's columns are ${columns}, expected "prompt" with text or "messages" with {"role", "content"} objects`,
      );
    }
  }
  return prompts;
}

async function linePrompts(file: string): Promise<GivenPrompt[]> {
  let text = "";
  for await (const chunk of readTexts([file], undefined)) text += chunk;
  return text
    .split(/\r?\n/)
    .map((prompt, i) => ({ prompt, line: i + 1, where: `${file}:${i + 1}` }))
    .filter(({ prompt }) => prompt.trim() !== "");
}

function isMessages(value: unknown): value is readonly ChatMessage[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every(
      (message: unknown) =>
        typeof message === "object" &&
        message !== null &&
        "role" in message &&
        typeof message.role === "string",
    )
  );
}

export interface PromptContext {
  readonly tokenizer: TextTokenizer;
  /** The model's chat template; called when a prompt needs it, so that a model without one may continue texts. */
  readonly renderer: () => ChatRenderer;
  /** Text prompts are a user's messages. */
  readonly chat: boolean;
  readonly system?: string | undefined;
}

/** The tokens a prompt begins with. Messages end with the opening of the assistant's answer. */
export function promptTokens(
  { prompt, where, line }: GivenPrompt,
  context: PromptContext,
): readonly number[] {
  const { tokenizer, renderer, chat, system } = context;
  if (typeof prompt !== "string" || chat) {
    const given = typeof prompt === "string" ? [{ role: "user", content: prompt }] : prompt;
    const messages = system === undefined ? given : [{ role: "system", content: system }, ...given];
    try {
      return renderer().render(messages, { addGenerationPrompt: true }).tokens_T;
    } catch (error) {
      if (!(error instanceof UserError) || line === undefined) throw error;
      throw new UserError(`${error.message} (${where})`, { cause: error });
    }
  }
  const tokens = tokenizer.encode(prompt, { addSpecialTokens: true });
  if (tokens.length > 0) return tokens;
  throw new UserError(
    `Cannot sample: the prompt of ${where} has 0 tokens and the tokenizer adds none, expected at least 1. Give a text`,
  );
}

/** Tokens that end a completion: what tokenizer and configurations name, and what ends a turn of the chat template. */
export function endTokens(tokenizer: TextTokenizer, renderer: ChatRenderer | undefined): readonly number[] {
  if (renderer === undefined) return tokenizer.eosIds;
  const messages = [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
  ];
  const { tokens_T, spans } = renderer.render(messages, {});
  const answer = spans.findLast(({ source }) => source === "sampled");
  const last = answer === undefined ? undefined : tokens_T[answer.end - 1];
  const endsTurn = last !== undefined && tokenizer.isSpecial(last) ? [last] : [];
  return [...new Set([...tokenizer.eosIds, ...endsTurn])];
}
