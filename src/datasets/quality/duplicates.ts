/**
 * Rows that say the same, or nearly. Exact duplicates have the same `recordKey`. Near duplicates are found by MinHash
 * (Broder, 1997) with banding, and confirmed by the Jaccard similarity itself, so that no pair is called near that is not:
 *
 *     J(A, B) = |A ∩ B| / |A ∪ B|      A, B: the sets of five consecutive words of two texts
 *
 * Rows are near when J ≥ threshold both for their prompts and for their answers: two samples of one prompt, or two
 * questions about one long schema, are not. A band is three hashes of the prompt and three of the answers, so neither of
 * them alone makes rows candidates. With 48 bands a pair with J = 0.8 for both is missed with probability
 * (1 − 0.8⁶)⁴⁸ = 5e-7. Hashes are fixed: the same rows give the same answer.
 */
import { Random } from "../../base/index.js";
import { recordKey } from "../records/read-records.js";
import { answersOf, type DataRecord, promptText } from "../records/record.js";
import { wordsAndSigns } from "./words.js";

export interface DuplicateOptions {
  /** Jaccard similarity from which on two texts are near. @default 0.8 */
  readonly threshold?: number;
}

export interface Duplicates {
  /** Groups of lines that say exactly the same, each in order. */
  readonly exact: readonly (readonly number[])[];
  /** Rows that repeat an earlier one exactly. */
  readonly exactRows: number;
  /** Groups of lines that are near each other (over one or more steps); exact repetitions are not listed again. */
  readonly near: readonly (readonly number[])[];
  /** Rows that are near an earlier one, exact repetitions left out. */
  readonly nearRows: number;
}

const SHINGLE_WORDS = 5;
const BANDS = 48;
const ROWS_PER_BAND = 3;
const HASHES = BANDS * ROWS_PER_BAND;

export function findDuplicates(
  records: readonly DataRecord[],
  { threshold = 0.8 }: DuplicateOptions = {},
): Duplicates {
  const byKey = new Map<string, DataRecord[]>();
  for (const record of records) {
    const key = recordKey(record);
    const group = byKey.get(key);
    if (group === undefined) byKey.set(key, [record]);
    else group.push(record);
  }
  const exact = [...byKey.values()].filter(({ length }) => length > 1).map(linesOf);
  const distinct = [...byKey.values()].map(([first]) => first!);
  const near = nearGroups(distinct, threshold).map((group) => linesOf(group.map((i) => distinct[i]!)));
  return {
    exact,
    exactRows: records.length - distinct.length,
    near,
    nearRows: near.reduce((sum, { length }) => sum + length - 1, 0),
  };
}

/** Jaccard similarity of two texts' five-word shingles; two texts without words are alike. */
export function textSimilarity(a: string, b: string): number {
  return jaccard(shinglesOf(a), shinglesOf(b));
}

const linesOf = (records: readonly DataRecord[]): number[] => records.map(({ line }) => line);

interface Shingled {
  readonly prompt: ReadonlySet<number>;
  readonly answers: ReadonlySet<number>;
}

function nearGroups(records: readonly DataRecord[], threshold: number): number[][] {
  const shingled = records.map(
    (record): Shingled => ({
      prompt: shinglesOf(promptText(record)),
      answers: shinglesOf(...answersOf(record).map(({ text }) => text)),
    }),
  );
  const random = new Random(0);
  const seeds = Array.from({ length: HASHES }, () => random.uint32());
  const signatures = shingled.map(({ prompt, answers }) => ({
    prompt: signatureOf(prompt, seeds),
    answers: signatureOf(answers, seeds),
  }));
  const clusters = new Clusters(records.length);
  const compared = new Set<number>();
  for (let band = 0; band < BANDS; band++) {
    const from = band * ROWS_PER_BAND;
    const buckets = new Map<string, number[]>();
    signatures.forEach(({ prompt, answers }, i) => {
      const hashes = (signature: Uint32Array): string =>
        signature.subarray(from, from + ROWS_PER_BAND).join(" ");
      const key = `${hashes(prompt)} ${hashes(answers)}`;
      const members = buckets.get(key) ?? [];
      buckets.set(key, members);
      for (const other of members) {
        // Near is not transitive: who is not near one member of a cluster may be near another.
        const pair = other * records.length + i;
        if (clusters.find(other) === clusters.find(i) || compared.has(pair)) continue;
        if (isNear(shingled[other]!, shingled[i]!, threshold)) clusters.join(other, i);
        else compared.add(pair);
      }
      members.push(i);
    });
  }
  return clusters.groups();
}

const isNear = (a: Shingled, b: Shingled, threshold: number): boolean =>
  jaccard(a.prompt, b.prompt) >= threshold && jaccard(a.answers, b.answers) >= threshold;

/** Hashes of five consecutive words; of a shorter text, of all its words. */
function shinglesOf(...texts: readonly string[]): Set<number> {
  const shingles = new Set<number>();
  texts.forEach((text, part) => {
    const words = wordsAndSigns(text);
    if (words.length === 0) return;
    const count = Math.max(1, words.length - SHINGLE_WORDS + 1);
    for (let i = 0; i < count; i++) {
      // The part's number keeps chosen and rejected apart: a swapped pair is no duplicate.
      shingles.add(hashText(`${part} ${words.slice(i, i + SHINGLE_WORDS).join(" ")}`));
    }
  });
  return shingles;
}

function signatureOf(shingles: ReadonlySet<number>, seeds: readonly number[]): Uint32Array {
  const least = new Uint32Array(HASHES).fill(0xffffffff);
  for (const shingle of shingles) {
    for (let i = 0; i < HASHES; i++) {
      const hash = mixed(shingle ^ seeds[i]!);
      if (hash < least[i]!) least[i] = hash;
    }
  }
  return least;
}

function jaccard(a: ReadonlySet<number>, b: ReadonlySet<number>): number {
  if (a.size === 0 && b.size === 0) return 1;
  const [small, large] = a.size < b.size ? [a, b] : [b, a];
  let shared = 0;
  for (const shingle of small) if (large.has(shingle)) shared++;
  return shared / (a.size + b.size - shared);
}

/** FNV-1a over UTF-16 units, then mixed: its low bits alone are weak. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mixed(hash);
}

/** The finaliser of MurmurHash3: a permutation of 32-bit words. */
function mixed(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Union-find; a cluster is named after its first member. */
class Clusters {
  readonly #parents: number[];
  constructor(count: number) {
    this.#parents = [...Array(count).keys()];
  }

  find(member: number): number {
    let root = member;
    while (this.#parents[root] !== root) root = this.#parents[root]!;
    this.#parents[member] = root;
    return root;
  }

  join(a: number, b: number): void {
    const [first, second] = [this.find(a), this.find(b)];
    this.#parents[Math.max(first, second)] = Math.min(first, second);
  }

  /** Clusters of more than one member, members in order. */
  groups(): number[][] {
    const groups = new Map<number, number[]>();
    this.#parents.forEach((_, member) => {
      const root = this.find(member);
      const group = groups.get(root);
      if (group === undefined) groups.set(root, [member]);
      else group.push(member);
    });
    return [...groups.values()].filter(({ length }) => length > 1);
  }
}
