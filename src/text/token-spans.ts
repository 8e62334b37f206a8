/** Which units of a word each of its tokens covers. Words and token strings only. */
import { utf8Bytes } from "./byte-level.js";
import { byteOfFallbackToken } from "./decoders.js";

export interface WordSpan {
  readonly start: number;
  readonly end: number;
}

export interface TokenSpansOptions {
  readonly isByteLevel: boolean;
  tokenString(id: number): string;
}

/**
 * Counts along the word: a byte-level token covers as many bytes as it has characters, another token its own
 * string, a byte token one byte. A token inside a character covers the whole character. When the counts do not
 * add up (unknown tokens, affixes), every token covers the whole word, so that nothing is claimed that is not known.
 */
export function createTokenSpans({ isByteLevel, tokenString }: TokenSpansOptions) {
  const lengthOf = (id: number): number => {
    const token = tokenString(id);
    if (isByteLevel) return token.length;
    return byteOfFallbackToken(token) === undefined ? utf8Bytes(token).length : 1;
  };
  return (word: string, ids: readonly number[]): WordSpan[] => {
    const whole = ids.map(() => ({ start: 0, end: word.length }));
    if (ids.length <= 1) return whole;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
    if (isByteLevel && /^[\u0000-\u007f]*$/.test(word)) return spansOfAscii(ids.map(lengthOf), whole);
    const lengths = ids.map(lengthOf);
    const units = unitsOfBytes(word);
    if (lengths.reduce((sum, length) => sum + length, 0) !== units.starts.length) return whole;
    let byte = 0;
    return lengths.map((length) => {
      const start = units.starts[byte]!;
      byte += length;
      return { start, end: length === 0 ? start : units.ends[byte - 1]! };
    });
  };
}

/** In ASCII a byte is a unit. */
function spansOfAscii(lengths: readonly number[], whole: WordSpan[]): WordSpan[] {
  const end = lengths.reduce((sum, length) => sum + length, 0);
  if (end !== whole[0]!.end) return whole;
  let unit = 0;
  return lengths.map((length) => ({ start: unit, end: (unit += length) }));
}

/** For every UTF-8 byte of `word`, where its character starts and ends in UTF-16 units. */
function unitsOfBytes(word: string): { starts: number[]; ends: number[] } {
  const starts: number[] = [];
  const ends: number[] = [];
  let unit = 0;
  for (const char of word) {
    const code = char.codePointAt(0)!;
    const bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (let i = 0; i < bytes; i++) {
      starts.push(unit);
      ends.push(unit + char.length);
    }
    unit += char.length;
  }
  return { starts, ends };
}
