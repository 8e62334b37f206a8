/**
 * Messages by a model's chat template. A later turn extends the tokens of the earlier ones: what the template writes
 * between turns is taken from a rendering in which stand-ins take the place of the policy's words, so that those are
 * never tokenised again. A template that rewrites what was said (dropping earlier reasoning) cannot be extended so.
 */
import { RolloutError, UserError } from "../base/index.js";
import type { ChatMessage, RenderedChat, Span, TemplateRenderer, TextTokenizer } from "../text/index.js";
import type { FollowedTurn, PromptFormat } from "./prompt-format.js";

export interface ChatFormatOptions {
  /** Tools that the template may announce. */
  readonly tools?: readonly unknown[];
}

/** Plain letters, which no template rewrites. */
const STAND_IN = "answer";

/** @throws UserError when the template ends no assistant's turn with a token that could stop sampling */
export function createChatFormat(
  renderer: TemplateRenderer,
  tokenizer: TextTokenizer,
  { tools }: ChatFormatOptions = {},
): PromptFormat {
  const options = { addGenerationPrompt: true, ...(tools === undefined ? {} : { tools }) };
  const endOfTurn = endOfTurnOf(renderer, tokenizer);
  const stop = [...new Set([...endOfTurn.slice(0, 1), ...tokenizer.eosIds])];
  return {
    stop,
    open: (messages) => withoutSampled(renderer.render(messages, options)),
    follow: (turn) => {
      checkExtends(turn, (messages) => renderer.renderText(messages, options));
      const rendered = renderer.render(
        [...turn.messages.map(withStandIn), standIn, ...turn.observation],
        options,
      );
      const last = rendered.spans.findLast(({ source }) => source === "sampled");
      if (last === undefined) throw new Error("internal: a rendering with an answer has no sampled span");
      const lastToken = turn.completion.tokens_T.at(-1) ?? -1;
      const said = lastToken === endOfTurn[0] ? 1 : stop.includes(lastToken) ? endOfTurn.length : 0;
      return withoutSampled(after(rendered, last.end, endOfTurn.slice(said)));
    },
    textOf: (tokens_T) =>
      tokenizer.decode(stop.includes(tokens_T.at(-1) ?? -1) ? tokens_T.slice(0, -1) : tokens_T),
  };
}

const standIn: ChatMessage = { role: "assistant", content: STAND_IN };

function withStandIn(message: ChatMessage): ChatMessage {
  return message.role === "assistant" ? { ...message, content: STAND_IN } : message;
}

/** The tokens with which the template ends an assistant's turn; the first of them ends sampling. */
function endOfTurnOf(renderer: TemplateRenderer, tokenizer: TextTokenizer): readonly number[] {
  const { tokens_T, spans } = renderer.render([{ role: "user", content: "question" }, standIn]);
  const last = spans.findLast(({ source }) => source === "sampled")!;
  const turn = tokens_T.slice(last.start, last.end);
  const end = turn.slice(turn.findLastIndex((id) => !tokenizer.isSpecial(id)) + 1);
  if (end.length > 0) return end;
  if (tokenizer.eosIds.length > 0) return [];
  throw new UserError(
    "Cannot sample chats: the template ends the assistant's turn with no special token and the tokenizer names no eos_token, expected either, so that a completion can end. Name eos_token in tokenizer_config.json",
  );
}

/** What was said before stays word for word, and the policy's words are followed by what follows any others. */
function checkExtends(turn: FollowedTurn, render: (messages: readonly ChatMessage[]) => string): void {
  const { messages, completion, observation } = turn;
  const before = render(messages);
  const after = (content: string) => render([...messages, { role: "assistant", content }, ...observation]);
  const withStandIn = after(STAND_IN);
  const withWords = after(completion.text);
  const tail = withStandIn.slice(
    before.length + withStandIn.slice(before.length).indexOf(STAND_IN) + STAND_IN.length,
  );
  const isKept =
    withStandIn.startsWith(before) &&
    withWords.startsWith(before) &&
    withWords.endsWith(tail) &&
    withWords.slice(before.length, withWords.length - tail.length).trim() === completion.text.trim();
  if (isKept) return;
  throw new RolloutError(
    "policy",
    "Cannot go on with the conversation: the chat template rewrites what was said before, expected it word for word. Train on episodes of one turn, or use a template that keeps earlier turns (and their reasoning) as they were",
  );
}

/** The tokens from `start` on, after `forced` ones. */
function after({ tokens_T, spans }: RenderedChat, start: number, forced: readonly number[]): RenderedChat {
  const shift = forced.length - start;
  const moved = spans
    .filter(({ end }) => end > start)
    .map((span): Span => ({ ...span, start: Math.max(span.start, start) + shift, end: span.end + shift }));
  return {
    tokens_T: [...forced, ...tokens_T.slice(start)],
    spans: forced.length > 0 ? [{ source: "forced", start: 0, end: forced.length }, ...moved] : moved,
  };
}

/** Assistant messages of an observation are examples: the policy did not write them. */
function withoutSampled({ tokens_T, spans }: RenderedChat): RenderedChat {
  return {
    tokens_T,
    spans: spans.map((span): Span => (span.source === "sampled" ? { ...span, source: "prompt" } : span)),
  };
}
