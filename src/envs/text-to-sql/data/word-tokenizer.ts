/**
 * A vocabulary of whole words for the text form of `text-form.ts`: everything between spaces is one token, with its
 * space; a word that is not known is spelled in bytes, so nothing is lost. A `tokenizer.json` like any other.
 */
import { CHAT_SPECIAL_TOKENS, type TokenizerJson, trainByteLevelBpe } from "../../../text/index.js";

export interface WordTokenizerOptions {
  /** Words in the vocabulary, the most frequent first. @default 6000 */
  readonly maxWords?: number;
  /** A word seen less often is spelled in bytes. @default 2 */
  readonly minFrequency?: number;
  /** @default CHAT_SPECIAL_TOKENS */
  readonly specialTokens?: readonly string[];
}

/** A word with the space before it, or white space alone. */
const WORDS = " ?[^\\s]+|\\s+";
/** The byte alphabet's character for a space; other ASCII that a word can hold stands for itself. */
const SPACE = "Ġ";

export async function trainWordTokenizer(
  texts: Iterable<string>,
  { maxWords = 6000, minFrequency = 2, specialTokens = CHAT_SPECIAL_TOKENS }: WordTokenizerOptions = {},
): Promise<TokenizerJson> {
  const all = [...texts];
  const bytes = await trainByteLevelBpe(all, { vocabSize: specialTokens.length + 256, specialTokens });
  const counts = new Map<string, number>();
  for (const text of all) {
    for (const [word] of text.matchAll(/ ?\S+/g)) {
      if (/^ ?[\x21-\x7e]+$/.test(word)) counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  }
  const vocab: Record<string, number> = { ...(bytes.model["vocab"] as Record<string, number>) }; // what was just trained
  const words = [...counts]
    .filter(([, count]) => count >= minFrequency)
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    .slice(0, maxWords);
  let next = specialTokens.length + 256;
  for (const [word] of words) {
    const spelled = word.replace(" ", SPACE);
    if (vocab[spelled] === undefined) vocab[spelled] = next++;
  }
  return {
    ...bytes,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: WORDS }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    model: { ...bytes.model, vocab, ignore_merges: true },
  };
}
