import fc from "fast-check";
import { expect, it } from "vitest";
import { createStopStrings } from "./stop-strings.js";
import { createTextStream, type Decode } from "./text-stream.js";

/** Byte-level: each token is some bytes, so tokens may end within a character. */
const bytesOf = (pieces: readonly Uint8Array[]): Decode => {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return (tokens) => decoder.decode(Buffer.concat(tokens.map((token) => pieces[token]!)));
};
/** As sentencepiece writes words: a space before each, which the start of a text loses. */
const wordsOf =
  (words: readonly string[]): Decode =>
  (tokens) =>
    tokens
      .map((token) => ` ${words[token]!}`)
      .join("")
      .slice(1);

const stopAt = (stops: readonly string[], decode: Decode, tokens: readonly number[]) => {
  const matcher = createStopStrings(stops, decode);
  for (const [at, token] of tokens.entries()) {
    const stop = matcher.push(token);
    if (stop !== undefined) return { at, stop };
  }
  return undefined;
};

it("a stop string is found within a token, at its end, and across tokens", () => {
  const pieces = ["ab", "c\n", "\nQ", ":", "x"].map((text) => new TextEncoder().encode(text));
  const decode = bytesOf(pieces);
  expect(stopAt(["c"], decode, [0, 1, 4])).toEqual({ at: 1, stop: "c" });
  expect(stopAt(["\n\nQ:"], decode, [0, 1, 2, 3, 4])).toEqual({ at: 3, stop: "\n\nQ:" });
  expect(stopAt(["\n\nQ:"], decode, [1, 2, 4, 3])).toBeUndefined();
  expect(stopAt(["zz", "bc", "abc\n"], decode, [0, 1])).toEqual({ at: 1, stop: "bc" });
  expect(stopAt([], decode, [0, 1])).toBeUndefined();
  expect(() => createStopStrings(["a", ""], decode)).toThrow(
    "Cannot stop at stop string 1: it is empty, expected text",
  );
});

it("a stop string is found where tokens end within its characters", () => {
  // é is c3 a9, 終 is e7 b5 82; the last token ends the word and begins another character.
  const pieces = [[0x61, 0xc3], [0xa9, 0xe7], [0xb5], [0x82], [0x82, 0x21, 0xe7], [0xff]].map((bytes) =>
    Uint8Array.from(bytes),
  );
  const decode = bytesOf(pieces);
  expect(stopAt(["é終"], decode, [0, 1, 2, 3])).toEqual({ at: 3, stop: "é終" });
  expect(stopAt(["終!"], decode, [0, 1, 2, 4])).toEqual({ at: 3, stop: "終!" });
  expect(stopAt(["é"], decode, [0, 1, 2, 3])).toEqual({ at: 1, stop: "é" });
  // Bytes that are no character end nothing and hide nothing.
  expect(stopAt(["a"], decode, [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0])).toEqual({ at: 12, stop: "a" });
});

it("a stop string may begin with the space that decoders drop at the start of a text", () => {
  const decode = wordsOf(["the", "end", "stop"]);
  expect(stopAt([" stop"], decode, [0, 1, 2])).toEqual({ at: 2, stop: " stop" });
  expect(stopAt([" stop"], decode, [2, 0, 2])).toEqual({ at: 2, stop: " stop" });
});

const bytes = fc.uint8Array({ minLength: 1, maxLength: 3 });

it("a text stream goes on from the prompt, whose text it does not repeat", () => {
  const stream = createTextStream(wordsOf(["the", "end"]), [0, 1]);
  expect([stream.push(0), stream.push(1), stream.rest()]).toEqual([" the", " end", ""]);
});

it("pieces of a text stream put together are the text, whatever the tokens", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), fc.infiniteStream(fc.nat(3)), (text, cuts) => {
      // Real text cut anywhere, as byte-level tokens cut it.
      const all = new TextEncoder().encode(text);
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < all.length; ) {
        const size = 1 + (cuts.next().value ?? 0);
        pieces.push(all.slice(at, at + size));
        at += size;
      }
      const stream = createTextStream(bytesOf(pieces));
      const out = pieces.map((_, token) => stream.push(token)).join("");
      expect(out + stream.rest()).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(all));
    }),
    { numRuns: 200, seed: 1 },
  );
});

it("finds each stop string at the first token whose decoded text holds it, for random bytes", () => {
  fc.assert(
    fc.property(
      fc.array(bytes, { minLength: 1, maxLength: 6 }),
      fc.array(fc.nat(5), { maxLength: 30 }),
      fc.array(fc.string({ minLength: 1, maxLength: 3, unit: fc.constantFrom("a", "b", "é", "終") }), {
        minLength: 1,
        maxLength: 3,
      }),
      (random, order, stops) => {
        const letters = ["a", "b", "é"].map((letter) => new TextEncoder().encode(letter));
        const pieces = [...letters, ...random.map((piece) => piece.map((byte) => byte & 0x7f))];
        const tokens = order.filter((token) => token < pieces.length);
        const decode = bytesOf(pieces);
        const first = tokens.findIndex((_, at) => {
          const text = decode(tokens.slice(0, at + 1));
          return stops.some((stop) => text.includes(stop));
        });
        expect(stopAt(stops, decode, tokens)?.at ?? -1).toBe(first);
      },
    ),
    { numRuns: 500, seed: 2 },
  );
});
