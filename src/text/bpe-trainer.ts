/**
 * Trains a byte-level BPE vocabulary: count words, then merge the most frequent pair of symbols until the vocabulary
 * is full (Gage 1994; Sennrich et al., arXiv:1508.07909; on bytes: GPT-2). Ties go to the pair of smallest ids, as in
 * the `tokenizers` library's BpeTrainer, whose merges this reproduces. Counts are incremental: a merge touches only
 * the words that hold its pair, and a heap with stale counts finds the next one.
 */
import { UserError } from "../base/index.js";
import { BYTE_TO_CHAR, utf8Bytes } from "./byte-level.js";
import { byteLevelTokenizerJson } from "./gpt2-files.js";
import { GPT2_WORDS } from "./pattern.js";
import type { TokenizerJson } from "./tokenizer-json.js";

export interface TrainBpeOptions {
  /** Tokens in all: special tokens, 256 bytes and merges. */
  readonly vocabSize: number;
  /** Take the first ids, in this order. @default ["<|endoftext|>"] */
  readonly specialTokens?: readonly string[];
  /** A pair seen less often is not merged. @default 2 */
  readonly minFrequency?: number;
}

/** A trained byte-level BPE tokenizer, split into words by GPT-2's pattern, as a `tokenizer.json` object. */
export async function trainByteLevelBpe(
  texts: AsyncIterable<string> | Iterable<string>,
  { vocabSize, specialTokens = ["<|endoftext|>"], minFrequency = 2 }: TrainBpeOptions,
): Promise<TokenizerJson> {
  const smallest = specialTokens.length + 256;
  if (!Number.isInteger(vocabSize) || vocabSize < smallest || vocabSize > MAX_VOCAB) {
    throw new UserError(
      `Cannot train tokenizer: vocabSize is ${vocabSize}, expected a whole number from ${smallest} (${specialTokens.length} special tokens and 256 bytes) to ${MAX_VOCAB}`,
    );
  }
  if (new Set(specialTokens).size !== specialTokens.length || specialTokens.includes("")) {
    throw new UserError(
      `Cannot train tokenizer: special tokens are ${JSON.stringify(specialTokens)}, expected different non-empty strings`,
    );
  }
  const counts = new Map<string, number>();
  for await (const text of texts) {
    for (const word of text.match(GPT2_WORDS) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  if (counts.size === 0) {
    throw new UserError("Cannot train tokenizer: the texts hold no words, expected at least one");
  }
  // The library's alphabet is in the order of its characters, so bytes that print come first.
  const tokens = [...specialTokens, ...[...BYTE_TO_CHAR].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0))];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges = mergePairs(createWords(counts, ids), { tokens, ids, vocabSize, minFrequency });
  return byteLevelTokenizerJson({
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
    specialTokens: specialTokens.map((content, id) => ({ id, content })),
  });
}

/** Ids fit 21 bits, so that a pair fits a double exactly. */
const MAX_VOCAB = 1 << 21;
const pairKey = (left: number, right: number): number => left * MAX_VOCAB + right;

interface Word {
  /** Symbols from 0 up to `length`; what follows is left over. */
  readonly symbols: Int32Array;
  length: number;
  readonly count: number;
}

/** A pair waiting to be merged, with the count that it had when it was queued. */
interface Candidate {
  readonly pair: number;
  count: number;
  readonly words: readonly number[];
}

interface MergeState {
  readonly tokens: string[];
  readonly ids: Map<string, number>;
  readonly vocabSize: number;
  readonly minFrequency: number;
}

function createWords(counts: ReadonlyMap<string, number>, ids: ReadonlyMap<string, number>): Word[] {
  const byteIds = BYTE_TO_CHAR.map((char) => ids.get(char)!);
  return Array.from(counts, ([word, count]) => {
    const symbols = Int32Array.from(utf8Bytes(word), (byte) => byteIds[byte]!);
    return { symbols, length: symbols.length, count };
  });
}

/** Fills `tokens` and `ids` up to the vocabulary's size. */
function mergePairs(words: readonly Word[], state: MergeState): [string, string][] {
  const { tokens, ids, vocabSize, minFrequency } = state;
  const counts = new Map<number, number>();
  let found = new Map<number, number[]>();
  // Words come in order, so a word already noted for a pair is the last one noted.
  const note = (pair: number, word: number): void => {
    const list = found.get(pair);
    if (list === undefined) found.set(pair, [word]);
    else if (list[list.length - 1] !== word) list.push(word);
  };
  const heap: Candidate[] = [];
  const queueFound = (): void => {
    for (const [pair, list] of found) {
      const count = counts.get(pair)!;
      if (count > 0) pushCandidate(heap, { pair, count, words: list });
    }
    found = new Map();
  };

  words.forEach((word, at) => {
    for (let i = 0; i + 1 < word.length; i++) {
      const pair = pairKey(word.symbols[i]!, word.symbols[i + 1]!);
      counts.set(pair, (counts.get(pair) ?? 0) + word.count);
      note(pair, at);
    }
  });
  queueFound();

  const merges: [string, string][] = [];
  while (tokens.length < vocabSize) {
    const top = popCandidate(heap);
    if (top === undefined) break;
    const count = counts.get(top.pair)!;
    if (top.count !== count) {
      top.count = count;
      pushCandidate(heap, top);
      continue;
    }
    if (count < 1 || count < minFrequency) break;
    const left = Math.floor(top.pair / MAX_VOCAB);
    const right = top.pair % MAX_VOCAB;
    const token = tokens[left]! + tokens[right]!;
    const known = ids.get(token);
    const merged = known ?? tokens.length;
    if (known === undefined) {
      ids.set(token, merged);
      tokens.push(token);
    }
    merges.push([tokens[left]!, tokens[right]!]);
    for (const at of top.words) {
      const word = words[at]!;
      mergeInWord(word, left, right, merged, (pair, change) => {
        counts.set(pair, (counts.get(pair) ?? 0) + change * word.count);
        if (change > 0) note(pair, at);
      });
    }
    queueFound();
  }
  return merges;
}

/**
 * Replaces the pair throughout the word and reports how the counts of its neighbours' pairs change.
 * As in the library, the merged pair's own count is left as it was.
 */
function mergeInWord(
  word: Word,
  left: number,
  right: number,
  merged: number,
  change: (pair: number, by: 1 | -1) => void,
): void {
  const { symbols } = word;
  let out = 0;
  for (let i = 0; i < word.length; i++) {
    if (symbols[i] !== left || i + 1 >= word.length || symbols[i + 1] !== right) {
      symbols[out++] = symbols[i]!;
      continue;
    }
    if (out > 0) {
      change(pairKey(symbols[out - 1]!, left), -1);
      change(pairKey(symbols[out - 1]!, merged), 1);
    }
    if (i + 2 < word.length) {
      change(pairKey(right, symbols[i + 2]!), -1);
      change(pairKey(merged, symbols[i + 2]!), 1);
    }
    symbols[out++] = merged;
    i++;
  }
  word.length = out;
}

/** Higher counts first, then the smaller pair. */
function isBefore(a: Candidate, b: Candidate): boolean {
  return a.count !== b.count ? a.count > b.count : a.pair < b.pair;
}

function pushCandidate(heap: Candidate[], entry: Candidate): void {
  let at = heap.push(entry) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(entry, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = entry;
}

function popCandidate(heap: Candidate[]): Candidate | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = at * 2 + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (!isBefore(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
