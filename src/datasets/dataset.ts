/**
 * A file of examples as training rows in memory, with its counts and hashes. Streams the file: only token ids stay.
 */
import { createHash } from "node:crypto";
import { quantile, UserError } from "../base/index.js";
import type { ColumnMapping } from "./columns.js";
import { type Example, readExamples, type Shape } from "./examples.js";
import {
  resolveTrainOn,
  type TokenizeOptions,
  type TrainingRow,
  type TrainOn,
  tokenizeExample,
} from "./tokenize.js";

export interface LoadDatasetOptions extends TokenizeOptions {
  readonly mapping?: ColumnMapping;
  /** Reads no further than this many rows. */
  readonly maxRows?: number;
  /** Told now and then how many rows are done. */
  readonly onProgress?: (rows: number) => void;
}

/** What the rows of a file came to. All counts are of tokens or rows after truncation unless they say otherwise. */
export interface DatasetStatistics {
  readonly rows: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  readonly length: {
    readonly min: number;
    readonly median: number;
    readonly p95: number;
    readonly max: number;
  };
  /** Rows longer than `maxLength`, and the tokens they lost. */
  readonly truncatedRows: number;
  readonly droppedTokens: number;
  /** Rows in which no token has a loss; they are not trained on. `example` is the first one's line. */
  readonly unsupervisedRows: { readonly count: number; readonly example?: number };
  /** Rows in which an end of text or end of turn has a loss. */
  readonly rowsThatEnd: number;
  /** Rows whose prompt and completion would have shared a token; both sides were tokenised alone. */
  readonly boundaryMerges: number;
}

export interface Dataset {
  readonly path: string;
  readonly shape: Shape;
  readonly trainOn: TrainOn;
  readonly rows: readonly TrainingRow[];
  readonly statistics: DatasetStatistics;
  /** SHA-256 of the examples in order, as mapped: the same for CRLF and LF, another for another order. */
  readonly contentHash: string;
}

/**
 * Reads, maps, tokenises and counts. Rows that supervise nothing are counted and left out of `rows`.
 *
 * @throws UserError with file and line for whatever is wrong with a row.
 */
export async function loadDataset(path: string, options: LoadDatasetOptions): Promise<Dataset> {
  const hash = createHash("sha256");
  const rows: TrainingRow[] = [];
  const counts = new Counts(options);
  let shape: Shape | undefined;
  let trainOn: TrainOn = "all";
  for await (const example of readExamples(path, options.mapping)) {
    const at = `${path}:${example.line}`;
    if (shape === undefined) trainOn = resolveTrainOn(example, options.trainOn ?? "auto", at);
    shape = example.shape;
    hash.update(`${contentOf(example)}\n`);
    const row = toRow(example, options, at, counts);
    if (row !== undefined) rows.push(row);
    if (counts.rows % 256 === 0) options.onProgress?.(counts.rows);
    if (counts.rows === options.maxRows) break;
  }
  if (shape === undefined) {
    throw new UserError(`Cannot read ${path}: it has no rows, expected at least one JSON object per line`);
  }
  return { path, shape, trainOn, rows, statistics: counts.statistics(), contentHash: hash.digest("hex") };
}

/** How many tokens of a row have a loss. */
export function supervisedCount(row: TrainingRow): number {
  let count = 0;
  for (const bit of row.lossMask_T) count += bit;
  return count;
}

/** SHA-256 of what is trained on: tokens and masks of `rows`, in order. A resumed run compares it. */
export function hashRows(rows: readonly TrainingRow[]): string {
  const hash = createHash("sha256");
  for (const { tokens_T, lossMask_T } of rows) {
    hash.update(`${tokens_T.length}:`);
    hash.update(tokens_T);
    hash.update(lossMask_T);
  }
  return hash.digest("hex");
}

function toRow(
  example: Example,
  options: LoadDatasetOptions,
  at: string,
  counts: Counts,
): TrainingRow | undefined {
  const { maxLength = 1024, truncation = "keep_start" } = options;
  const { tokens_T, lossMask_T, mergesAtBoundary } = tokenizeExample(example, options, at);
  const excess = Math.max(0, tokens_T.length - maxLength);
  if (excess > 0 && truncation === "refuse") {
    throw new UserError(
      `Cannot use ${at}: the row has ${tokens_T.length} tokens, expected at most maxLength ${maxLength}. Raise maxLength, or set truncation to "keep_start" or "keep_end"`,
    );
  }
  const start = truncation === "keep_end" ? excess : 0;
  const row: TrainingRow = {
    tokens_T: Int32Array.from(tokens_T.slice(start, start + maxLength)),
    lossMask_T: lossMask_T.slice(start, start + maxLength),
    line: example.line,
    promptKey: promptKeyOf(example),
  };
  // The first token left has nothing before it to be predicted from.
  row.lossMask_T[0] = 0;
  const isSupervised = row.lossMask_T.includes(1);
  counts.add(row, { excess, isSupervised, mergesAtBoundary });
  return isSupervised ? row : undefined;
}

class Counts {
  rows = 0;
  readonly #lengths: number[] = [];
  #supervised = 0;
  #truncated = 0;
  #dropped = 0;
  #unsupervised = 0;
  #unsupervisedLine: number | undefined;
  #ending = 0;
  #merges = 0;
  readonly #isEnd: (token: number) => boolean;

  constructor({ tokenizer }: TokenizeOptions) {
    this.#isEnd = endDetector(tokenizer);
  }

  add(
    row: TrainingRow,
    facts: { readonly excess: number; readonly isSupervised: boolean; readonly mergesAtBoundary: boolean },
  ): void {
    this.rows++;
    this.#lengths.push(row.tokens_T.length);
    this.#supervised += supervisedCount(row);
    this.#truncated += facts.excess > 0 ? 1 : 0;
    this.#dropped += facts.excess;
    this.#merges += facts.mergesAtBoundary ? 1 : 0;
    if (!facts.isSupervised) {
      this.#unsupervised++;
      this.#unsupervisedLine ??= row.line;
    }
    const ends = row.lossMask_T.some(
      (bit, i) => bit === 1 && row.lossMask_T[i + 1] !== 1 && this.#isEnd(row.tokens_T[i]!),
    );
    this.#ending += ends ? 1 : 0;
  }

  statistics(): DatasetStatistics {
    const lengths = this.#lengths;
    return {
      rows: this.rows,
      tokens: lengths.reduce((sum, length) => sum + length, 0),
      supervisedTokens: this.#supervised,
      length: {
        min: quantile(lengths, 0),
        median: quantile(lengths, 0.5),
        p95: quantile(lengths, 0.95),
        max: quantile(lengths, 1),
      },
      truncatedRows: this.#truncated,
      droppedTokens: this.#dropped,
      unsupervisedRows: {
        count: this.#unsupervised,
        ...(this.#unsupervisedLine === undefined ? {} : { example: this.#unsupervisedLine }),
      },
      rowsThatEnd: this.#ending,
      boundaryMerges: this.#merges,
    };
  }
}

/**
 * Whether a token that closes a trained span stops generation: EOS, or a special token such as `<|im_end|>` (chat
 * models end a turn with another token than a text). Special is what decoding can leave out.
 */
function endDetector(tokenizer: TokenizeOptions["tokenizer"]): (token: number) => boolean {
  const known = new Map<number, boolean>();
  return (token) => {
    let isEnd = known.get(token);
    if (isEnd === undefined) {
      isEnd =
        token === tokenizer.eosId ||
        (tokenizer.decode([token], { skipSpecialTokens: true }) === "" && tokenizer.decode([token]) !== "");
      known.set(token, isEnd);
    }
    return isEnd;
  };
}

/** The example as JSON with our fields only, in a fixed order. */
function contentOf(example: Example): string {
  switch (example.shape) {
    case "text":
      return JSON.stringify([example.text]);
    case "messages":
      return JSON.stringify([example.messages, example.tools ?? null]);
    case "prompt_completion":
      return JSON.stringify([example.sides.prompt, example.sides.completion, example.tools ?? null]);
  }
}

/** Of a conversation, the prompt is what stands before the assistant's first turn; of a text, the text. */
function promptKeyOf(example: Example): string {
  const prompt = ((): unknown => {
    switch (example.shape) {
      case "text":
        return example.text;
      case "prompt_completion":
        return example.sides.prompt;
      case "messages": {
        const first = example.messages.findIndex(({ role }) => role === "assistant");
        return first === -1 ? example.messages : example.messages.slice(0, first);
      }
    }
  })();
  return createHash("sha256").update(JSON.stringify(prompt)).digest("base64url").slice(0, 22);
}
