/** Byte-pair encoding of one word: symbols to ids, merged in the order of rank. Words only; knows nothing of texts. */
import { UserError } from "../base/index.js";
import { BYTE_TO_CHAR, utf8Bytes } from "./byte-level.js";
import { MergeTable } from "./merge-table.js";
import type { TokenModel } from "./token-model.js";
import { describe, isRecord, isTokenId, type Stage } from "./tokenizer-json.js";

/** Words longer than this are not remembered: they are rarely seen twice. */
const LONGEST_CACHED = 256;
const CACHE_WORDS = 100_000;
/** From this many symbols on, a heap finds the next merge; below it, looking at all of them is faster. */
const HEAP_FROM = 48;

/** The model of a `tokenizer.json` of type BPE. With `isByteLevel`, words are taken as UTF-8 bytes. */
export function createBpe(stage: Stage, isByteLevel: boolean, where: string): TokenModel {
  const vocab = parseVocab(stage["vocab"], where);
  const affixes = {
    prefix: optionalText(stage, "continuing_subword_prefix"),
    suffix: optionalText(stage, "end_of_word_suffix"),
  };
  const merges = createMerges(stage["merges"], vocab, affixes.prefix, where);
  const unknownToken = stage["unk_token"];
  const unknownId = typeof unknownToken === "string" ? vocab.get(unknownToken) : undefined;
  const byteIds = Array.from({ length: 256 }, (_, byte) =>
    vocab.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
  );
  const hasByteFallback = stage["byte_fallback"] === true;
  const fusesUnknown = stage["fuse_unk"] === true;
  const byteCharIds = Int32Array.from(BYTE_TO_CHAR, (char) => vocab.get(char) ?? -1);
  const isPlain = affixes.prefix === "" && affixes.suffix === "" && byteCharIds.every((id) => id >= 0);

  function symbolsOf(word: string): number[] {
    if (isByteLevel && isPlain) return Array.from(utf8Bytes(word), (byte) => byteCharIds[byte]!);
    const chars = isByteLevel ? Array.from(utf8Bytes(word), (byte) => BYTE_TO_CHAR[byte]!) : Array.from(word);
    const ids: number[] = [];
    let previousUnknown = false;
    chars.forEach((char, i) => {
      const symbol = `${i > 0 ? affixes.prefix : ""}${char}${i === chars.length - 1 ? affixes.suffix : ""}`;
      const id = vocab.get(symbol);
      const bytes = id === undefined && hasByteFallback ? byteTokens(symbol, byteIds) : undefined;
      if (id !== undefined) ids.push(id);
      else if (bytes !== undefined) ids.push(...bytes);
      else if (unknownId !== undefined && !(fusesUnknown && previousUnknown)) ids.push(unknownId);
      // Without an unknown token the library drops the character, and so do we.
      previousUnknown = id === undefined && bytes === undefined;
    });
    return ids;
  }

  const ignoresMerges = stage["ignore_merges"] === true;
  const wholeWord = (word: string): number | undefined =>
    vocab.get(isByteLevel ? Array.from(utf8Bytes(word), (byte) => BYTE_TO_CHAR[byte]!).join("") : word);
  const encode = (word: string): readonly number[] => {
    const whole = ignoresMerges ? wholeWord(word) : undefined;
    return whole === undefined ? mergeSymbols(symbolsOf(word), merges) : [whole];
  };

  let cache = new Map<string, readonly number[]>();
  return {
    vocab,
    encodeWord(word) {
      const known = cache.get(word);
      if (known !== undefined) return known;
      const ids = encode(word);
      if (word.length <= LONGEST_CACHED) {
        if (cache.size >= CACHE_WORDS) cache = new Map();
        cache.set(word, ids);
      }
      return ids;
    },
  };
}

/** `vocab` as a map, with ids checked. @throws UserError */
export function parseVocab(value: unknown, where: string): Map<string, number> {
  if (!isRecord(value)) {
    throw new UserError(
      `Cannot read tokenizer ${where}: "vocab" is ${describe(value)}, expected an object of ids by token`,
    );
  }
  const vocab = new Map<string, number>();
  for (const [token, id] of Object.entries(value)) {
    if (!isTokenId(id)) {
      throw new UserError(
        `Cannot read tokenizer ${where}: token ${JSON.stringify(token)} has id ${describe(id)}, expected a whole number >= 0`,
      );
    }
    vocab.set(token, id);
  }
  return vocab;
}

function optionalText(stage: Stage, field: string): string {
  const value = stage[field];
  return typeof value === "string" ? value : "";
}

/** Merges are `"a b"` or `["a", "b"]`, in order of rank. */
function createMerges(
  value: unknown,
  vocab: ReadonlyMap<string, number>,
  prefix: string,
  where: string,
): MergeTable {
  if (!Array.isArray(value)) {
    throw new UserError(`Cannot read tokenizer ${where}: "merges" is ${describe(value)}, expected a list`);
  }
  const table = new MergeTable(value.length);
  value.forEach((merge: unknown, rank) => {
    const pair: unknown[] = typeof merge === "string" ? merge.split(" ") : Array.isArray(merge) ? merge : [];
    const [left, right] = pair;
    if (pair.length !== 2 || typeof left !== "string" || typeof right !== "string") {
      throw new UserError(
        `Cannot read tokenizer ${where}: merge ${rank} is ${describe(merge)}, expected two tokens`,
      );
    }
    const token = left + right.slice(prefix.length);
    const ids = [left, right, token].map((part) => {
      const id = vocab.get(part);
      if (id !== undefined) return id;
      throw new UserError(
        `Cannot read tokenizer ${where}: merge ${rank} ("${left}", "${right}") names ${JSON.stringify(part)}, expected a token of the vocabulary`,
      );
    });
    table.set(ids[0]!, ids[1]!, rank, ids[2]!);
  });
  return table;
}

function byteTokens(text: string, byteIds: readonly (number | undefined)[]): number[] | undefined {
  const ids: number[] = [];
  for (const byte of utf8Bytes(text)) {
    const id = byteIds[byte];
    if (id === undefined) return undefined;
    ids.push(id);
  }
  return ids;
}

/** Merges the pair of lowest rank, leftmost first, until no pair merges. Changes `ids`. */
function mergeSymbols(ids: number[], merges: MergeTable): number[] {
  return ids.length < HEAP_FROM ? mergeByScan(ids, merges) : mergeByHeap(ids, merges);
}

function mergeByScan(ids: number[], merges: MergeTable): number[] {
  const ranks: number[] = [];
  for (let i = 0; i + 1 < ids.length; i++) ranks.push(merges.rank(ids[i]!, ids[i + 1]!));
  for (;;) {
    let best = -1;
    let bestRank = 0x7fffffff;
    for (let i = 0; i < ranks.length; i++) {
      const rank = ranks[i]!;
      if (rank >= 0 && rank < bestRank) {
        best = i;
        bestRank = rank;
      }
    }
    if (best < 0) return ids;
    ids[best] = merges.merged(ids[best]!, ids[best + 1]!);
    ids.splice(best + 1, 1);
    ranks.splice(best, 1);
    if (best > 0) ranks[best - 1] = merges.rank(ids[best - 1]!, ids[best]!);
    if (best < ranks.length) ranks[best] = merges.rank(ids[best]!, ids[best + 1]!);
  }
}

/** The same with a heap of (rank, position) over a linked list: n log n for words of thousands of symbols. */
function mergeByHeap(ids: number[], merges: MergeTable): number[] {
  const count = ids.length;
  const next = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : -1));
  const previous = Int32Array.from({ length: count }, (_, i) => i - 1);
  // A heap entry is rank * count + position, so that one comparison orders both.
  const heap: number[] = [];
  const offer = (at: number): void => {
    if (at < 0 || next[at]! < 0) return;
    const rank = merges.rank(ids[at]!, ids[next[at]!]!);
    if (rank >= 0) pushHeap(heap, rank * count + at);
  };
  for (let at = 0; at < count; at++) offer(at);
  while (heap.length > 0) {
    const entry = popHeap(heap);
    const at = entry % count;
    const right = next[at]!;
    // An entry is stale when its symbols have merged otherwise since.
    if (ids[at]! < 0 || right < 0 || merges.rank(ids[at]!, ids[right]!) !== Math.floor(entry / count))
      continue;
    ids[at] = merges.merged(ids[at]!, ids[right]!);
    ids[right] = -1;
    next[at] = next[right]!;
    if (next[at]! >= 0) previous[next[at]!] = at;
    offer(at);
    offer(previous[at]!);
  }
  return ids.filter((id) => id >= 0);
}

function pushHeap(heap: number[], entry: number): void {
  let at = heap.push(entry) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent]! <= entry) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = entry;
}

function popHeap(heap: number[]): number {
  const top = heap[0]!;
  const last = heap.pop()!;
  if (heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = at * 2 + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= last) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
