/** A text as words, for measures that look for the same words in the same order. Knows no tokenizer. */

/** Letters and digits in a row; a sign of a script without spaces is a word of its own. */
const WORDS =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|(?:(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}])[\p{L}\p{N}\p{M}])+/gu;

/** Lower-case words without punctuation. */
export function wordsOf(text: string): string[] {
  return text.normalize("NFKC").toLowerCase().match(WORDS) ?? [];
}

/** The same as `wordsOf`, with every other sign that is no space as a word of its own: code and markup count too. */
export function wordsAndSigns(text: string): string[] {
  const found: string[] = [];
  for (const part of text.normalize("NFKC").toLowerCase().split(/\s+/)) {
    let end = 0;
    for (const match of part.matchAll(WORDS)) {
      found.push(...part.slice(end, match.index), match[0]);
      end = match.index + match[0].length;
    }
    found.push(...part.slice(end));
  }
  return found;
}
