/**
 * Sequences that begin with the same tokens, and how they are packed so that a shared beginning is computed once.
 * Token ids only; knows nothing of losses or tensors.
 */
import { haveSameAngles, type RopeConfig } from "../nn/index.js";

/** Beginnings shorter than this are computed anew: branches would cost more than so few tokens. */
const LEAST_SHARED = 16;

/**
 * For each sequence, how many of its first tokens are those of the sequence before it. Only neighbours share, as a
 * group's completions or a chosen and a rejected answer are: their prompt, and whatever else they begin with.
 */
export function sharedPrefixes(rope: RopeConfig, sequences_D_T: readonly (readonly number[])[]): number[] {
  return sequences_D_T.map((tokens_T, index) => {
    const before = sequences_D_T[index - 1];
    if (before === undefined || !haveSameAngles(rope, before.length, tokens_T.length)) return 0;
    const most = Math.min(before.length, tokens_T.length);
    let shared = 0;
    while (shared < most && before[shared] === tokens_T[shared]) shared++;
    return shared < LEAST_SHARED ? 0 : shared;
  });
}

/** Several sequences as one list of T tokens, in which tokens that neighbours share stand once. */
export interface PackedSequences {
  /** Place in the list of each token of each sequence. */
  readonly flat_D_T: readonly Int32Array[];
  readonly tokens_T: Int32Array;
  /** Index behind the last token that sees each token: what attention is told (graph/ops/attention.ts). */
  readonly ends_T: Int32Array;
}

/** @param shared_D from `sharedPrefixes`; the first sequence's is not read, as there is nothing before it */
export function packSequences(
  sequences_D_T: readonly (readonly number[])[],
  shared_D: readonly number[],
): PackedSequences {
  const sharedOf = (index: number): number => (index === 0 ? 0 : shared_D[index]!);
  const total = sequences_D_T.reduce((sum, { length }, index) => sum + length - sharedOf(index), 0);
  const tokens_T = new Int32Array(total);
  const ends_T = new Int32Array(total);
  const flat_D_T: Int32Array[] = [];
  let next = 0;
  for (const [index, sequence_T] of sequences_D_T.entries()) {
    const shared = sharedOf(index);
    const before = flat_D_T[index - 1];
    const flat_T = new Int32Array(sequence_T.length);
    if (before !== undefined) {
      flat_T.set(before.subarray(0, shared));
      // Nobody sees the rest of the sequence before any more.
      for (let i = shared; i < before.length; i++) ends_T[before[i]!] = next;
    }
    for (let i = shared; i < sequence_T.length; i++) {
      tokens_T[next] = sequence_T[i]!;
      flat_T[i] = next++;
    }
    flat_D_T.push(flat_T);
  }
  for (const place of flat_D_T.at(-1) ?? []) ends_T[place] = total;
  return { flat_D_T, tokens_T, ends_T };
}

/**
 * Consecutive sequences, as many as fit `maxTokens` when what they share counts once, and `maxRowTokens` when it counts
 * for each of them; one that is longer stands alone, and so do `together` neighbours that are. Sequences that share more with each other than with the one before
 * them stay together where `maxTokens` lets them.
 */
export function splitSequences(
  lengths_D: readonly number[],
  shared_D: readonly number[],
  {
    maxTokens,
    maxRowTokens,
    together = 1,
  }: { readonly maxTokens: number; readonly maxRowTokens: number; readonly together?: number },
): number[][] {
  if (together > 1) return splitExamples(lengths_D, shared_D, { maxTokens, maxRowTokens, together });
  const batches: number[][] = [];
  let room = 0;
  let rowRoom = 0;
  for (const [index, length] of lengths_D.entries()) {
    const shared = shared_D[index]!;
    const group = groupTokens(lengths_D, shared_D, index, maxTokens);
    const fits =
      length <= rowRoom && length - shared <= room && (group <= room || group + shared > maxTokens);
    const isFirst = batches.length === 0 || !fits;
    if (isFirst) {
      batches.push([]);
      room = maxTokens;
      rowRoom = maxRowTokens;
    }
    batches.at(-1)!.push(index);
    room -= isFirst ? length : length - shared;
    rowRoom -= length;
  }
  return batches;
}

/** The same with examples of `together` sequences, none of which is parted. */
function splitExamples(
  lengths_D: readonly number[],
  shared_D: readonly number[],
  {
    maxTokens,
    maxRowTokens,
    together,
  }: { readonly maxTokens: number; readonly maxRowTokens: number; readonly together: number },
): number[][] {
  const batches: number[][] = [];
  let room = 0;
  let rowRoom = 0;
  for (let first = 0; first < lengths_D.length; first += together) {
    const members = Array.from({ length: together }, (_, member) => first + member);
    const rowTokens = members.reduce((sum, index) => sum + lengths_D[index]!, 0);
    const added = members.reduce((sum, index) => sum + lengths_D[index]! - shared_D[index]!, 0);
    const isFirst = batches.length === 0 || rowTokens > rowRoom || added > room;
    if (isFirst) {
      batches.push([]);
      room = maxTokens - shared_D[first]!;
      rowRoom = maxRowTokens;
    }
    batches.at(-1)!.push(...members);
    room -= added;
    rowRoom -= rowTokens;
  }
  return batches;
}

/**
 * Tokens that a sequence adds, with all following ones that share more with their neighbour than it does with its own;
 * counted no further than beyond `most`.
 */
function groupTokens(
  lengths_D: readonly number[],
  shared_D: readonly number[],
  first: number,
  most: number,
): number {
  let tokens = lengths_D[first]! - shared_D[first]!;
  for (let i = first + 1; i < lengths_D.length && shared_D[i]! > shared_D[first]! && tokens <= most; i++)
    tokens += lengths_D[i]! - shared_D[i]!;
  return tokens;
}
