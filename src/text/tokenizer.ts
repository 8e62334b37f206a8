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

/** Token ids with the UTF-16 units of the text that each covers; a token inside a character covers all of it. */
export interface EncodedText {
  readonly tokens_T: readonly number[];
  readonly starts_T: readonly number[];
  readonly ends_T: readonly number[];
}

/** What this room's own tokenizers can do beyond `Tokenizer`; chat rendering and previews need it. */
export interface TextTokenizer extends Tokenizer {
  /** Ids that end a turn or a text, the tokenizer's own first (config.json and generation_config.json may add some). */
  readonly eosIds: readonly number[];
  /** `bos_token`, `eos_token`… as chat templates read them. */
  readonly specialTokens: Readonly<Record<string, string>>;
  encodeWithOffsets(text: string): EncodedText;
  /** The token as the vocabulary spells it, or undefined for an id that it lacks. */
  tokenString(id: number): string | undefined;
  /** The id of a token as the vocabulary spells it. */
  tokenId(token: string): number | undefined;
  isSpecial(id: number): boolean;
  /** The bytes that the token stands for within a text; a single token need not be valid UTF-8. */
  tokenBytes(id: number): Uint8Array;
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
