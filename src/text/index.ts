/** Strings to token ids and back. */
export type {
  ChatMessage,
  ChatRenderer,
  RenderedChat,
  RenderOptions,
  Span,
  SpanSource,
  Tokenizer,
} from "./tokenizer.js";
