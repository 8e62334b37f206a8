/** What a tokenizer and a chat renderer are to the other rooms. Strings and ids; knows nothing about models. */

export interface Tokenizer {
  /** One more than the largest id; the model's embedding must have at least as many rows. */
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly padId?: number;
  /** SHA-256 of the files that define it, so that caches and checkpoints know which tokenizer made them. */
  readonly hash: string;
  /** `addSpecialTokens` lets the post-processor add BOS and the like. @default false */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  decode(tokens: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
}

/** Who wrote a span of tokens. Only `sampled` spans (the assistant's own words, with its end of turn) are trained on. */
export type SpanSource = "prompt" | "sampled" | "tool" | "forced";

/** Tokens `start` up to, not including, `end`. The spans of a rendering cover it without gap or overlap. */
export interface Span {
  readonly source: SpanSource;
  readonly start: number;
  readonly end: number;
}

export interface ChatMessage {
  readonly role: string;
  readonly content: string | null;
  /** Further fields a template may read: `tool_calls`, `name`, `reasoning_content`… */
  readonly [field: string]: unknown;
}

export interface RenderedChat {
  readonly tokens_T: readonly number[];
  readonly spans: readonly Span[];
}

export interface RenderOptions {
  /** Ends with the opening of an assistant turn, for sampling. @default false */
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly unknown[];
}

export interface ChatRenderer {
  render(messages: readonly ChatMessage[], options?: RenderOptions): RenderedChat;
}
