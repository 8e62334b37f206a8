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
/** A character has 4 bytes at most; what is unfinished after this many tokens is no character. */
const MAX_HELD_TOKENS = 8;

/**
 * Each token is decoded after the few before it, because decoders drop the first space of a text: the cost of a token
 * does not grow with the text.
 */
export function createTextStream(decode: Decode): TextStream {
  /** The tokens before the last pause, and those since. */
  let context: number[] = [];
  let fresh: number[] = [];
  /** Characters of decode([...context, ...fresh]) already given out. */
  let done = 0;
  return {
    push(token) {
      fresh.push(token);
      const text = decode([...context, ...fresh]);
      const isFinished = !UNFINISHED.test(text) || fresh.length >= MAX_HELD_TOKENS;
      const certain = isFinished ? text : text.replace(UNFINISHED, "");
      const news = certain.slice(done);
      done = Math.max(done, certain.length);
      if (isFinished) {
        [context, fresh] = [fresh, []];
        done = decode(context).length;
      }
      return news;
    },
    rest: () => decode([...context, ...fresh]).slice(done),
  };
}
