/**
 * Rows that hold what an evaluation asks. A row is contaminated when 13 consecutive words of one of its texts (lower
 * case, no punctuation; Brown et al., 2020, appendix C) occur in a text of an evaluation set:
 *
 *     score = 1 − contaminated rows / rows
 *
 * A text of an evaluation with 8 to 12 words has no 13-gram; it counts where all its words occur in a row. Texts of
 * fewer words say too little to be recognised and are counted as unchecked.
 */
import { readFile } from "node:fs/promises";
import { fileError } from "../file-error.js";
import { answersOf, type DataRecord, promptText } from "../records/record.js";
import { readRows } from "../rows.js";
import { wordsOf } from "./words.js";

export const GRAM_WORDS = 13;
export const LEAST_WORDS = 8;

/** One text of an evaluation set. */
export interface EvaluationText {
  readonly path: string;
  readonly line: number;
  readonly text: string;
}

export interface ContaminatedRow {
  /** The line of the row. */
  readonly line: number;
  readonly evaluation: { readonly path: string; readonly line: number };
  /** The words that both have. */
  readonly words: string;
}

export interface Decontamination {
  /** Share of rows without overlap. */
  readonly score: number;
  /** The first overlap of every contaminated row. */
  readonly overlaps: readonly ContaminatedRow[];
  readonly evaluationTexts: number;
  /** Texts of fewer than 8 words. */
  readonly uncheckedTexts: number;
}

/** Every text of a file, wherever it stands in its rows: an evaluation set need not have our columns. */
export async function readEvaluationTexts(path: string): Promise<EvaluationText[]> {
  const texts: EvaluationText[] = [];
  if (/\.(txt|md|csv)$/.test(path)) {
    const lines = await readFile(path, "utf8").catch((thrown: unknown) => {
      throw fileError(path, thrown, "a file of texts") ?? thrown;
    });
    return lines.split("\n").map((text, i) => ({ path, line: i + 1, text }));
  }
  for await (const { line, value } of readRows(path)) {
    for (const text of textsIn(value)) texts.push({ path, line, text });
  }
  return texts;
}

function* textsIn(value: unknown): Generator<string> {
  if (typeof value === "string") yield value;
  else if (typeof value === "object" && value !== null) {
    for (const inner of Object.values(value)) yield* textsIn(inner);
  }
}

/** Which of `records` share 13 words with one of `evaluation`. */
export function findContamination(
  records: readonly DataRecord[],
  evaluation: readonly EvaluationText[],
): Decontamination {
  const index = new GramIndex();
  let unchecked = 0;
  for (const text of evaluation) if (!index.add(text)) unchecked++;
  const overlaps: ContaminatedRow[] = [];
  for (const record of records) {
    const texts = [promptText(record), ...answersOf(record).map(({ text }) => text)];
    for (const text of texts) {
      const overlap = index.firstOverlap(text);
      if (overlap === undefined) continue;
      overlaps.push({ line: record.line, ...overlap });
      break;
    }
  }
  return {
    score: records.length === 0 ? 1 : 1 - overlaps.length / records.length,
    overlaps,
    evaluationTexts: evaluation.length,
    uncheckedTexts: unchecked,
  };
}

interface Gram {
  readonly words: readonly number[];
  readonly start: number;
  readonly source: EvaluationText;
}

/** The grams of the evaluation's texts by hash. Words are numbers; a hit is compared word by word. */
class GramIndex {
  readonly #ids = new Map<string, number>();
  /** By length of the gram, because short texts have shorter ones. */
  readonly #grams = new Map<number, Map<number, Gram[]>>();

  /** False where the text is too short to be checked. */
  add(source: EvaluationText): boolean {
    const words = wordsOf(source.text).map((word) => this.#idOf(word));
    if (words.length < LEAST_WORDS) return false;
    const length = Math.min(GRAM_WORDS, words.length);
    const grams = this.#grams.get(length) ?? new Map<number, Gram[]>();
    this.#grams.set(length, grams);
    for (let start = 0; start + length <= words.length; start++) {
      const hash = hashOf(words, start, length);
      const found = grams.get(hash);
      if (found === undefined) grams.set(hash, [{ words, start, source }]);
      else if (!found.some((gram) => isSame(gram, words, start, length)))
        found.push({ words, start, source });
    }
    return true;
  }

  firstOverlap(text: string): Omit<ContaminatedRow, "line"> | undefined {
    const spelled = wordsOf(text);
    // A word that no evaluation has ends every gram.
    const words = spelled.map((word) => this.#ids.get(word) ?? -1);
    for (const [length, grams] of this.#grams) {
      let known = 0;
      for (let end = 0; end < words.length; end++) {
        known = words[end] === -1 ? 0 : known + 1;
        if (known < length) continue;
        const start = end + 1 - length;
        const hit = grams
          .get(hashOf(words, start, length))
          ?.find((gram) => isSame(gram, words, start, length));
        if (hit === undefined) continue;
        const { path, line } = hit.source;
        return { evaluation: { path, line }, words: spelled.slice(start, end + 1).join(" ") };
      }
    }
    return undefined;
  }

  #idOf(word: string): number {
    const id = this.#ids.get(word) ?? this.#ids.size;
    this.#ids.set(word, id);
    return id;
  }
}

/** Two 26-bit hashes in one exact number. */
function hashOf(words: readonly number[], start: number, length: number): number {
  let low = 0x811c9dc5;
  let high = 0x2c1b3c6d;
  for (let i = start; i < start + length; i++) {
    low = Math.imul(low ^ words[i]!, 0x01000193);
    low ^= low >>> 15;
    high = Math.imul(high ^ words[i]!, 0x85ebca6b);
    high ^= high >>> 13;
  }
  return (low >>> 6) * 2 ** 26 + (high >>> 6);
}

function isSame(gram: Gram, words: readonly number[], start: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (gram.words[gram.start + i] !== words[start + i]) return false;
  return true;
}
