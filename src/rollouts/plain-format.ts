/** Messages as plain text: the form for models trained on prompt and completion, without a chat template. */
import { UserError } from "../base/index.js";
import type { ChatMessage, Span, Tokenizer } from "../text/index.js";
import type { PromptFormat } from "./prompt-format.js";

export interface PlainFormatOptions {
  /** Stands between the prompt's text and the completion. @default "" */
  readonly separator?: string;
  /** A BOS before the prompt. @default "auto": as the tokenizer's own post-processor does */
  readonly addBos?: boolean | "auto";
}

/**
 * The messages' contents, one per line, then the separator; EOS ends a completion. The prompt's tokens are those that
 * supervised training on `{"prompt": text + separator, "completion"}` rows had.
 *
 * @throws UserError when the tokenizer has no EOS: nothing would end a completion
 */
export function createPlainFormat(
  tokenizer: Tokenizer,
  { separator = "", addBos = "auto" }: PlainFormatOptions = {},
): PromptFormat {
  const { eosId, bosId } = tokenizer;
  if (eosId === undefined) {
    throw new UserError(
      "Cannot format prompts: the tokenizer names no eos_token, expected one that ends a completion. Name it in tokenizer_config.json",
    );
  }
  if (addBos === true && bosId === undefined) {
    throw new UserError(
      "Cannot format prompts with BOS: the tokenizer names no bos_token, expected one in tokenizer_config.json",
    );
  }
  const writesBos = addBos === true || (addBos === "auto" && startsWithBos(tokenizer));
  const start = writesBos && bosId !== undefined ? [bosId] : [];
  return {
    stop: [eosId],
    open: (messages) => {
      const tokens_T = [...start, ...tokenizer.encode(textOf(messages) + separator)];
      return { tokens_T, spans: spanOver("prompt", 0, tokens_T.length) };
    },
    follow: ({ completion, observation }) => {
      const forced = completion.tokens_T.at(-1) === eosId ? [] : [eosId];
      const told = tokenizer.encode(textOf(observation) + separator);
      const tokens_T = [...forced, ...told];
      const source = observation.every(({ role }) => role === "tool") ? "tool" : "prompt";
      return {
        tokens_T,
        spans: [...spanOver("forced", 0, forced.length), ...spanOver(source, forced.length, tokens_T.length)],
      };
    },
    textOf: (tokens_T) => tokenizer.decode(tokens_T.at(-1) === eosId ? tokens_T.slice(0, -1) : tokens_T),
  };
}

function textOf(messages: readonly ChatMessage[]): string {
  return messages.map(({ content }) => content ?? "").join("\n");
}

/** A span, unless it holds nothing. */
function spanOver(source: Span["source"], start: number, end: number): Span[] {
  return end > start ? [{ source, start, end }] : [];
}

function startsWithBos(tokenizer: Tokenizer): boolean {
  const { bosId } = tokenizer;
  return bosId !== undefined && tokenizer.encode("a", { addSpecialTokens: true })[0] === bosId;
}
