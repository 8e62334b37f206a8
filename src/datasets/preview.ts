/** Rows as the model will see them, with the tokens that have a loss marked: the cheapest check of a mask. */
import type { Tokenizer } from "../text/index.js";
import type { TrainingRow } from "./tokenize.js";

export interface PreviewOptions {
  /** Marks with colour (a terminal) instead of «…». @default false */
  readonly colour?: boolean;
  /** Characters of a row before the middle of a long run is left out. @default 600 */
  readonly maxRunCharacters?: number;
}

const GREEN = "\u001b[32m";
const RESET = "\u001b[0m";

/**
 * The text of `rows`, one block per row, trained tokens marked.
 *
 * @example previewRows([row], tokenizer)
 * // Row of line 1: 9 tokens, 4 with a loss
 * // What is 2+2?«4</s>»
 */
export function previewRows(
  rows: readonly TrainingRow[],
  tokenizer: Tokenizer,
  options: PreviewOptions = {},
): string {
  return rows.map((row) => previewRow(row, tokenizer, options)).join("\n\n");
}

function previewRow(row: TrainingRow, tokenizer: Tokenizer, options: PreviewOptions): string {
  const { colour = false, maxRunCharacters = 600 } = options;
  const runs = runsOf(row);
  const text = runs
    .map(({ start, end, isTrained }) => {
      const words = shorten(textOf(row, start, end, tokenizer), maxRunCharacters);
      if (!isTrained) return words;
      return colour ? `${GREEN}${words}${RESET}` : `«${words}»`;
    })
    .join("");
  const trained = runs.reduce((sum, { start, end, isTrained }) => sum + (isTrained ? end - start : 0), 0);
  return `Row of line ${row.line}: ${row.tokens_T.length} tokens, ${trained} with a loss\n${text}`;
}

/** The text of a run as it reads after what stands before it: some tokenizers drop a space that begins a text. */
function textOf({ tokens_T }: TrainingRow, start: number, end: number, tokenizer: Tokenizer): string {
  const before = tokenizer.decode([...tokens_T.subarray(0, start)]);
  const whole = tokenizer.decode([...tokens_T.subarray(0, end)]);
  return whole.startsWith(before)
    ? whole.slice(before.length)
    : tokenizer.decode([...tokens_T.subarray(start, end)]);
}

interface Run {
  readonly start: number;
  readonly end: number;
  readonly isTrained: boolean;
}

function runsOf({ lossMask_T }: TrainingRow): Run[] {
  const runs: Run[] = [];
  let start = 0;
  for (let i = 1; i <= lossMask_T.length; i++) {
    if (i < lossMask_T.length && lossMask_T[i] === lossMask_T[start]) continue;
    runs.push({ start, end: i, isTrained: lossMask_T[start] === 1 });
    start = i;
  }
  return runs;
}

function shorten(text: string, maxCharacters: number): string {
  const characters = [...text];
  if (characters.length <= maxCharacters) return text;
  const half = Math.floor(maxCharacters / 2);
  const left = characters.length - 2 * half;
  return `${characters.slice(0, half).join("")} … ${left} characters … ${characters.slice(-half).join("")}`;
}
