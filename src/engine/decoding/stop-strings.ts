/** Finds the token at which a stop string is complete, however tokens and characters lie across it. */
import { createTextStream, type Decode } from "./text-stream.js";

export interface StopStrings {
  /** Takes the completion's next token; the stop string that is complete with it, or undefined. */
  push(token: number): string | undefined;
}

/**
 * One matcher per completion: the prompt's text does not count. Of several stop strings that a token completes, the one
 * that ends first, then the longest, is named.
 */
export function createStopStrings(stops: readonly string[], decode: Decode): StopStrings {
  const empty = stops.indexOf("");
  if (empty >= 0) throw new RangeError(`Cannot stop at stop string ${empty}: it is empty, expected text`);
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  const stream = createTextStream(decode);
  let tail = "";
  return {
    push(token) {
      const text = tail + stream.push(token);
      tail = text.slice(Math.max(0, text.length - longest + 1));
      const endOf = (stop: string): number => text.indexOf(stop) + stop.length;
      return stops
        .filter((stop) => text.includes(stop))
        .sort((a, b) => endOf(a) - endOf(b) || b.length - a.length)[0];
    },
  };
}
