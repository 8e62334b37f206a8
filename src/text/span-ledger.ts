/**
 * Which part of a rendered chat each participant wrote, as ranges of the text; `chat-renderer.ts` turns them into
 * spans of tokens. Nothing is guessed: a range is proven by marks that vanish without a trace, or by standing
 * verbatim where the prompt for that turn ends. What cannot be proven is a UserError naming the message.
 *
 * An assistant's turn is what the model has to produce after the prompt for that turn (the messages before it,
 * rendered with the generation prompt), up to and including its end-of-turn token:
 *   - its content, with the reasoning and tool calls that the template renders around it: `sampled`;
 *   - white space between the prompt and the content: `sampled`, the model must produce it too;
 *   - other text that the template puts there (an empty thinking block): `forced`.
 */
import { UserError } from "../base/index.js";
import {
  calledNames,
  contentParts,
  hasMoreThanContent,
  isAssistant,
  isTool,
  markArguments,
  markCalls,
  markContent,
  reasoningOf,
} from "./chat-messages.js";
import type { ChatTemplate } from "./chat-template.js";
import { createMarks, type Marks, type Range, takeMarksOut } from "./marked-rendering.js";
import type { ChatMessage, RenderOptions, SpanSource } from "./tokenizer.js";

export interface TextSpan extends Range {
  readonly source: SpanSource;
  /** The message that it belongs to. */
  readonly message: number;
}

/** The end-of-turn token that follows `from`, directly or after white space; or anywhere before `until`. */
export type FindEndOfTurn = (from: number, until: number, reach: "next" | "anywhere") => Range | undefined;

export interface LedgerInput {
  readonly template: ChatTemplate;
  readonly messages: readonly ChatMessage[];
  readonly options: RenderOptions;
  /** The rendering that the ranges are of. */
  readonly text: string;
  readonly findEndOfTurn: FindEndOfTurn;
  /** The last special token of a text: its id and where it ends. */
  lastSpecial(text: string): { readonly id: number; readonly end: number } | undefined;
}

/** The spans that are not the prompt's, in order. */
export function ledgerOf(input: LedgerInput): TextSpan[] {
  const marks = createMarks(input.text, input.messages.length);
  const contents = locateContents(input, marks);
  const spans = input.template.hasGenerationBlocks
    ? generationSpans(input, marks[0]!)
    : input.messages.flatMap((message, i) =>
        isAssistant(message) ? assistantSpans(input, i, contents, marks[i]!) : [],
      );
  input.messages.forEach((message, i) => {
    const range = contents[i];
    if (isTool(message) && range !== undefined) spans.push({ ...range, source: "tool", message: i });
  });
  return spans.sort((a, b) => a.start - b.start);
}

/** For each assistant's and tool's message, its content's range where marks prove it. */
function locateContents(
  { template, messages, options, text }: LedgerInput,
  marks: readonly Marks[],
): (Range | undefined)[] {
  const isWanted = (i: number): boolean =>
    (isAssistant(messages[i]!) || isTool(messages[i]!)) && contentParts(messages[i]!).core !== "";
  const locate = (which: (i: number) => boolean): (Range | undefined)[] => {
    const marked = messages.map((message, i) => (which(i) ? markContent(message, marks[i]!) : message));
    const rendering = tryRender(template, marked, options);
    if (rendering === undefined) return messages.map(() => undefined);
    const found = takeMarksOut(rendering, marks);
    return messages.map((message, i) => {
      const [range, ...more] = found.ranges[i]!;
      const isProven = found.text === text && range !== undefined && more.length === 0;
      return isProven && text.slice(range.start, range.end) === contentParts(message).core
        ? range
        : undefined;
    });
  };
  const together = locate(isWanted);
  // A mark may change what the template does with one message; the others are then proven one by one.
  return together.map((range, i) => range ?? (isWanted(i) ? locate((j) => j === i)[i] : undefined));
}

function assistantSpans(
  input: LedgerInput,
  i: number,
  contents: readonly (Range | undefined)[],
  marks: Marks,
): TextSpan[] {
  const { text, messages, findEndOfTurn } = input;
  const message = messages[i]!;
  const from = promptEnd(input, i);
  const next = messages.findIndex((other, j) => j > i && isAssistant(other));
  const until = (next < 0 ? undefined : promptEnd(input, next)) ?? text.length;
  if (hasMoreThanContent(message)) {
    if (from === undefined)
      throw fails(i, message, "the prompt for its turn is not the beginning of the rendering");
    return [wholeTurn(input, i, { from, until, content: contents[i], marks })];
  }
  const { core } = contentParts(message);
  if (core === "") {
    const end = from === undefined ? undefined : findEndOfTurn(from, until, "next");
    if (end === undefined || from === undefined)
      throw fails(i, message, "it is empty and no end of turn stands in its place");
    return [{ source: "sampled", start: from, end: end.end, message: i }];
  }
  const content = contents[i] ?? verbatimAt(input, i, from);
  if (content === undefined) throw fails(i, message, "the template rewrites or drops its content");
  const own = withEdges(input, i, content);
  const end = findEndOfTurn(own.end, until, "next")?.end ?? own.end;
  const start = from ?? turnStart(input, i, own.start);
  if (start === undefined || start > own.start)
    return [{ source: "sampled", start: own.start, end, message: i }];
  if (text.slice(start, own.start).trim() === "") return [{ source: "sampled", start, end, message: i }];
  return [
    { source: "forced", start, end: own.start, message: i },
    { source: "sampled", start: own.start, end, message: i },
  ];
}

/** Where the prompt for message `i` ends, when it is the beginning of the rendering. */
function promptEnd({ template, messages, options, text }: LedgerInput, i: number): number | undefined {
  const prompt = tryRender(template, messages.slice(0, i), { ...options, addGenerationPrompt: true });
  return prompt !== undefined && text.startsWith(prompt) ? prompt.length : undefined;
}

/**
 * Where the turn of message `i` begins when its prompt is not the beginning of the rendering (the template words
 * earlier messages differently): after the same special token, and the same text behind it, that end the prompt.
 */
function turnStart(
  { template, messages, options, text, lastSpecial }: LedgerInput,
  i: number,
  until: number,
): number | undefined {
  const prompt = tryRender(template, messages.slice(0, i), { ...options, addGenerationPrompt: true });
  const expected = prompt === undefined ? undefined : lastSpecial(prompt);
  const found = lastSpecial(text.slice(0, until));
  if (expected === undefined || found?.id !== expected.id) return undefined;
  const opening = prompt!.slice(expected.end);
  return text.startsWith(opening, found.end) ? found.end + opening.length : undefined;
}

/** Content that marks would change, but that fills the turn: from the prompt's end to the end-of-turn token. */
function verbatimAt(
  { text, messages, findEndOfTurn }: LedgerInput,
  i: number,
  from: number | undefined,
): Range | undefined {
  if (from === undefined) return undefined;
  const { core } = contentParts(messages[i]!);
  const start = from + (text.slice(from).length - text.slice(from).trimStart().length);
  const end = start + core.length;
  if (!text.startsWith(core, start) || findEndOfTurn(end, text.length, "next") === undefined)
    return undefined;
  return { start, end };
}

/** The content's range with as much of its white-space edges as the template keeps. */
function withEdges({ template, messages, options, text }: LedgerInput, i: number, range: Range): Range {
  const message = messages[i]!;
  const { lead, core, trail } = contentParts(message);
  const kept = (edge: string, content: string): number => {
    if (edge === "") return 0;
    const changed = messages.map((other, j) => (j === i ? { ...other, content } : other));
    const rendering = tryRender(template, changed, options);
    return rendering === undefined ? -1 : text.length - rendering.length;
  };
  const before = kept(lead, core + trail);
  const after = kept(trail, lead + core);
  const start = range.start - before;
  const end = range.end + after;
  const isExpected =
    before >= 0 &&
    after >= 0 &&
    lead.endsWith(text.slice(start, range.start)) &&
    trail.startsWith(text.slice(range.end, end));
  if (!isExpected)
    throw fails(i, message, "the white space around its content changes the rendering elsewhere");
  return { start, end };
}

/** A turn with tool calls or reasoning: all of it, once every part of it is proven to be rendered in it. */
function wholeTurn(
  { template, messages, options, text, findEndOfTurn }: LedgerInput,
  i: number,
  turn: { from: number; until: number; content: Range | undefined; marks: Marks },
): TextSpan {
  const message = messages[i]!;
  const { from, until, marks } = turn;
  const rendering = text.slice(from, until);
  const parts = [contentParts(message).core, ...reasoningOf(message)];
  const missing = parts.find((part) => !rendering.includes(part));
  if (missing !== undefined) {
    throw fails(i, message, `the template rewrites or drops ${JSON.stringify(missing.slice(0, 60))}`);
  }
  const names = calledNames(message);
  const withMarks = (mark: typeof markCalls): string =>
    tryRender(
      template,
      messages.map((other, j) => (j === i ? mark(other, marks) : other)),
      options,
    ) ?? "";
  const calls = takeMarksOut(withMarks(markCalls), [marks]);
  const ranges = calls.ranges[0]!;
  if (
    names.length > 0 &&
    (calls.text !== text || ranges.length < names.length || !withMarks(markArguments).includes(marks.start))
  ) {
    throw fails(i, message, "the template rewrites or drops its tool calls");
  }
  const last = Math.max(from, turn.content?.end ?? from, ...ranges.map(({ end }) => end));
  const end = findEndOfTurn(last, until, names.length > 0 ? "anywhere" : "next");
  if (end === undefined) throw fails(i, message, "no end-of-turn token follows it");
  return { source: "sampled", start: from, end: end.end, message: i };
}

/** The template says itself what the assistant wrote; each message must be found in its blocks. */
function generationSpans(
  { template, messages, options, text, findEndOfTurn }: LedgerInput,
  marks: Marks,
): TextSpan[] {
  const found = takeMarksOut(template.render(messages, { ...options, marks }), [marks]);
  const assistants = messages.flatMap((message, i) => (isAssistant(message) ? [i] : []));
  const blocks = found.text === text ? found.ranges[0]!.filter(({ start, end }) => end > start) : [];
  let at = 0;
  return assistants.map((i) => {
    const message = messages[i]!;
    const parts = [contentParts(message).core, ...reasoningOf(message), ...calledNames(message)];
    const isIn = (block: Range): boolean =>
      parts.every((part) => text.slice(block.start, block.end).includes(part));
    const block = blocks[at];
    if (block === undefined || !isIn(block)) {
      throw fails(i, message, "the template's generation blocks do not hold it, or hold it rewritten");
    }
    at++;
    if (i === assistants.at(-1) && at < blocks.length) {
      throw fails(
        i,
        message,
        `the template has ${blocks.length} generation blocks for ${assistants.length} assistant messages`,
      );
    }
    // Blocks often leave the end-of-turn token out, which the assistant has to learn all the same.
    const end = findEndOfTurn(block.end, text.length, "next")?.end ?? block.end;
    return { source: "sampled", start: block.start, end, message: i };
  });
}

function tryRender(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: RenderOptions,
): string | undefined {
  try {
    return template.render(messages, options);
  } catch (error) {
    // A template may refuse part of a chat, or one with marks; then that proof is not to be had.
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

function fails(i: number, message: ChatMessage, why: string): UserError {
  const content = JSON.stringify((message.content ?? "").slice(0, 60));
  return new UserError(
    `Cannot say which tokens the assistant wrote: message ${i} (${message.role}, ${content}): ${why}, expected its text verbatim in the rendering`,
  );
}
