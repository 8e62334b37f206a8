/** Strings to token ids and back. */
export { type TrainBpeOptions, trainByteLevelBpe } from "./bpe-trainer.js";
export { type ChatRendererOptions, createChatRenderer, type TemplateRenderer } from "./chat-renderer.js";
export { CHATML_TEMPLATE } from "./chatml.js";
export { type CreateTokenizerOptions, createTokenizer } from "./create-tokenizer.js";
export { describeToken } from "./describe-token.js";
export { checkFits } from "./fits.js";
export { GGUF_WORD_SPLITS } from "./gguf-pre-tokenizers.js";
export { ggufTokenizer } from "./gguf-tokenizer.js";
export { llama2cTokenizer, type TokenizerFiles } from "./llama2c-tokenizer.js";
export type {
  ChatMessage,
  ChatRenderer,
  EncodedText,
  RenderedChat,
  RenderOptions,
  Span,
  SpanSource,
  TextTokenizer,
  Tokenizer,
} from "./tokenizer.js";
export { loadTokenizer } from "./tokenizer-files.js";
export type { TokenizerConfig, TokenizerJson } from "./tokenizer-json.js";
export {
  CHAT_SPECIAL_TOKENS,
  type TrainedTokenizerOptions,
  trainedTokenizerConfig,
  writeTokenizer,
} from "./write-tokenizer.js";
