/**
 * Messages to tokens with a ledger of who wrote them. The ids are those of the whole rendering, so they always equal
 * transformers' `apply_chat_template`; a token that straddles two spans is `sampled` only when all of it is.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/index.js";
import { checkMessages, isAssistant } from "./chat-messages.js";
import { type ChatTemplate, createChatTemplate } from "./chat-template.js";
import { type FindEndOfTurn, ledgerOf, type TextSpan } from "./span-ledger.js";
import type {
  ChatMessage,
  ChatRenderer,
  EncodedText,
  RenderedChat,
  RenderOptions,
  Span,
  SpanSource,
  TextTokenizer,
} from "./tokenizer.js";
import { loadTokenizer, readTokenizerConfig } from "./tokenizer-files.js";
import { describe, isRecord } from "./tokenizer-json.js";

export interface ChatRendererOptions {
  /** Jinja source, or several by name: `tool_use` is taken when there are tools, else `default`. */
  readonly template: string | Readonly<Record<string, string>>;
  readonly tokenizer: TextTokenizer;
  /** The clock of `strftime_now`. @default the current time */
  readonly now?: () => Date;
  /** What messages call the template. @default "template" */
  readonly where?: string;
}

export interface TemplateRenderer extends ChatRenderer {
  /** SHA-256 of the template and the tokenizer's hash. */
  readonly hash: string;
  renderText(messages: readonly ChatMessage[], options?: RenderOptions): string;
}

/** The renderer of a model directory (`chat_template.jinja` or `tokenizer_config.json`), or of a given template. */
export function createChatRenderer(
  source: string | ChatRendererOptions,
  overrides: Partial<Pick<ChatRendererOptions, "tokenizer" | "now">> = {},
): TemplateRenderer {
  const options =
    typeof source === "string" ? { ...readTemplate(source), ...overrides } : { ...source, ...overrides };
  const tokenizer = options.tokenizer ?? loadTokenizer(String(source));
  const { template, where = "template", now = () => new Date() } = options;
  const named = typeof template === "string" ? { default: template } : template;
  const compiled = new Map(
    Object.entries(named).map(([name, text]) => [
      name,
      createChatTemplate(text, { specialTokens: tokenizer.specialTokens, now, where }),
    ]),
  );
  const templateFor = (options: RenderOptions): ChatTemplate => {
    const found =
      (options.tools === undefined ? undefined : compiled.get("tool_use")) ?? compiled.get("default");
    if (found !== undefined) return found;
    throw new UserError(
      `Cannot render chat: ${where} has templates ${JSON.stringify([...compiled.keys()])}, expected one called "default"`,
    );
  };
  return {
    hash: createHash("sha256").update(JSON.stringify(named)).update(tokenizer.hash).digest("hex"),
    renderText(messages, options = {}) {
      checkMessages(messages);
      return templateFor(options).render(messages, options);
    },
    render(messages, options = {}) {
      checkMessages(messages);
      const chosen = templateFor(options);
      const text = chosen.render(messages, options);
      const encoded = tokenizer.encodeWithOffsets(text);
      const findEndOfTurn = createFindEndOfTurn(text, encoded, {
        tokenizer,
        openings: specialIdsIn(generationPromptOf(chosen, messages, options), tokenizer),
      });
      const lastSpecial = (part: string) => lastSpecialOf(tokenizer.encodeWithOffsets(part), tokenizer);
      const ledger = ledgerOf({ template: chosen, messages, options, text, findEndOfTurn, lastSpecial });
      return toTokenSpans(encoded, ledger, messages);
    },
  };
}

/** The template of a model directory. @throws UserError when it has none: the caller may name one */
function readTemplate(directory: string): Pick<ChatRendererOptions, "template" | "where"> {
  const path = join(directory, "chat_template.jinja");
  if (existsSync(path)) return { template: readFileSync(path, "utf8"), where: path };
  const where = join(directory, "tokenizer_config.json");
  const value = readTokenizerConfig(directory).chat_template;
  if (typeof value === "string") return { template: value, where };
  if (Array.isArray(value)) {
    const entries = value.filter(isRecord).map((entry) => [String(entry["name"]), String(entry["template"])]);
    return { template: Object.fromEntries(entries), where };
  }
  throw new UserError(
    `Cannot render chat: ${directory} has no chat_template.jinja and "chat_template" of tokenizer_config.json is ${describe(value)}, expected a template. Add chat_template.jinja, or make the tokenizer with one: hone tokenizer train --chat`,
  );
}

/** What `add_generation_prompt` adds: the opening of an assistant's turn. */
function generationPromptOf(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: RenderOptions,
): string {
  try {
    const without = template.render(messages, { ...options, addGenerationPrompt: false });
    const withPrompt = template.render(messages, { ...options, addGenerationPrompt: true });
    return withPrompt.startsWith(without) ? withPrompt.slice(without.length) : "";
  } catch (error) {
    if (error instanceof UserError) return "";
    throw error;
  }
}

function specialIdsIn(text: string, tokenizer: TextTokenizer): Set<number> {
  return new Set(tokenizer.encode(text).filter((id) => tokenizer.isSpecial(id)));
}

function lastSpecialOf({ tokens_T, ends_T }: EncodedText, tokenizer: TextTokenizer) {
  const at = tokens_T.findLastIndex((id) => tokenizer.isSpecial(id));
  return at < 0 ? undefined : { id: tokens_T[at]!, end: ends_T[at]! };
}

/**
 * A special token ends a turn when the tokenizer or the model's configuration says that it ends texts, or when it is
 * not one that opens things: BOS, one of the generation prompt, the first of the rendering.
 */
function createFindEndOfTurn(
  text: string,
  { tokens_T, starts_T, ends_T }: EncodedText,
  { tokenizer, openings }: { tokenizer: TextTokenizer; openings: ReadonlySet<number> },
): FindEndOfTurn {
  const first = tokens_T.find((id) => tokenizer.isSpecial(id) && id !== tokenizer.bosId);
  const endsTurn = (id: number): boolean =>
    tokenizer.eosIds.includes(id) ||
    (tokenizer.isSpecial(id) && id !== tokenizer.bosId && id !== first && !openings.has(id));
  return (from, until, reach) => {
    for (let t = firstTokenAt(starts_T, from); t < tokens_T.length && starts_T[t]! < until; t++) {
      const start = starts_T[t]!;
      if (reach === "next" && text.slice(from, start).trim() !== "") return undefined;
      if (endsTurn(tokens_T[t]!)) return { start, end: ends_T[t]! };
    }
    return undefined;
  };
}

function firstTokenAt(starts_T: readonly number[], from: number): number {
  let low = 0;
  let high = starts_T.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts_T[middle]! < from) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Gives each token to the span that holds all of it, and what straddles to the prompt (or, inside a turn, `forced`). */
function toTokenSpans(
  { tokens_T, starts_T, ends_T }: EncodedText,
  ledger: readonly TextSpan[],
  messages: readonly ChatMessage[],
): RenderedChat {
  const spans: Span[] = [];
  const sampled = new Set<number>();
  let at = 0;
  tokens_T.forEach((_, t) => {
    const start = starts_T[t]!;
    const end = ends_T[t]!;
    while (at < ledger.length && ledger[at]!.end <= start) at++;
    const span = ledger[at];
    const isInside = span !== undefined && span.start <= start && end <= span.end;
    const source: SpanSource = isInside
      ? span.source
      : straddles(ledger, at, start, end)
        ? "forced"
        : "prompt";
    if (isInside && source === "sampled") sampled.add(span.message);
    const last = spans.at(-1);
    if (last?.source === source) spans[spans.length - 1] = { ...last, end: t + 1 };
    else spans.push({ source, start: t, end: t + 1 });
  });
  messages.forEach((message, i) => {
    if (!isAssistant(message) || sampled.has(i)) return;
    throw new UserError(
      `Cannot say which tokens the assistant wrote: message ${i} (${message.role}) shares all its tokens with the prompt, expected at least one of its own`,
    );
  });
  return { tokens_T, spans };
}

/** Does the token lie across the border from a forced span to the sampled one that follows it? */
function straddles(ledger: readonly TextSpan[], at: number, start: number, end: number): boolean {
  const span = ledger[at];
  const next = ledger[at + 1];
  return (
    span?.source === "forced" &&
    span.start <= start &&
    next !== undefined &&
    next.start < end &&
    end <= next.end
  );
}
