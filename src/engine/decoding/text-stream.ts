/** Text of tokens as they come: a token may end within a character, and its text may depend on the token before it. */

/** How the caller turns tokens into text; the engine knows no tokenizer. */
export type Decode = (tokens: readonly number[]) => string;

export interface TextStream {
  /** The text that `token` makes certain; it may be empty. */
  push(token: number): string;
  /** What is still held back at the end: an unfinished character, as the decoder writes it. */
  rest(): string;
}

/** What decoders write for bytes that are no character, or not yet one. */
const UNFINISHED = /\ufffd+$/;
/** A character has 4 bytes; bytes that have not become one after this many tokens without news are none. */
const MAX_HELD_TOKENS = 8;
/** Decoded at once at most, where no token ends with a character for so long. */
const MAX_WINDOW = 64;

/**
 * Each token is decoded with the few before it, because decoders drop the first space of a text: the cost of a token
 * does not grow with the text. The few begin with a character, because decoders of bytes may spoil all that follow a
 * broken one. `before` are the prompt's tokens, whose text is not given out.
 */
export function createTextStream(decode: Decode, before: readonly number[] = []): TextStream {
  let window = [...before];
  /** Tokens of the window that were there when its text last ended with a character. */
  let boundary = window.length;
  /** Characters of the window's text already given out. */
  let done = before.length === 0 ? 0 : decode(before).length;
  let held = 0;
  return {
    push(token) {
      window.push(token);
      const text = decode(window);
      const isFinished = !UNFINISHED.test(text);
      const certain = held >= MAX_HELD_TOKENS ? text : text.replace(UNFINISHED, "");
      const news = certain.slice(done);
      done = Math.max(done, certain.length);
      held = isFinished || news !== "" ? 0 : held + 1;
      const latest = isFinished ? window.slice(boundary) : window.slice(-MAX_WINDOW / 2);
      const latestText = isFinished || window.length > MAX_WINDOW ? decode(latest) : "";
      if (latestText !== "") {
        window = latest;
        done = latestText.replace(UNFINISHED, "").length;
      }
      if (isFinished) boundary = window.length;
      return news;
    },
    rest: () => decode(window).slice(done),
  };
}
