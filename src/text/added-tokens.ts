/** Added tokens are found in the text before anything else looks at it: `<|im_end|>` is one token, never words. */
import { escapeRegExp, WHITE_SPACE, WORD_CHARACTERS } from "./pattern.js";
import type { AddedToken } from "./tokenizer-json.js";

/** A stretch of the text: an added token's, or (without `token`) of the text between. */
export interface Section {
  readonly start: number;
  readonly end: number;
  readonly token?: AddedToken;
}

/** Cuts a text into sections, in order and without gaps. */
export type Sectioner = (text: string) => Section[];

const WORD_AT_END = new RegExp(`[${WORD_CHARACTERS}]$`, "u");
const WORD_AT_START = new RegExp(`^[${WORD_CHARACTERS}]`, "u");

/** Leftmost, then longest match. `contents` are the strings to look for, each with its token. */
export function createSectioner(contents: ReadonlyMap<string, AddedToken>): Sectioner {
  if (contents.size === 0) return (text) => (text.length === 0 ? [] : [{ start: 0, end: text.length }]);
  // Alternatives are tried in order, so longer ones come first.
  const alternatives = [...contents.keys()].sort((a, b) => b.length - a.length).map(escapeRegExp);
  const pattern = new RegExp(alternatives.join("|"), "gu");
  const spaceBefore = new RegExp(`${WHITE_SPACE}+$`, "u");
  const spaceAfter = new RegExp(`^${WHITE_SPACE}+`, "u");
  return (text) => {
    const sections: Section[] = [];
    let done = 0;
    for (const match of text.matchAll(pattern)) {
      const token = contents.get(match[0])!;
      let start = match.index;
      let end = start + match[0].length;
      if (token.singleWord && (WORD_AT_END.test(text.slice(0, start)) || WORD_AT_START.test(text.slice(end))))
        continue;
      if (token.lstrip)
        start = Math.max(done, start - (spaceBefore.exec(text.slice(0, start))?.[0].length ?? 0));
      if (token.rstrip) end += spaceAfter.exec(text.slice(end))?.[0].length ?? 0;
      if (start > done) sections.push({ start: done, end: start });
      sections.push({ start, end, token });
      done = end;
    }
    if (done < text.length) sections.push({ start: done, end: text.length });
    return sections;
  };
}
