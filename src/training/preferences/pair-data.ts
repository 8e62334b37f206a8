/** The pairs of a run: read, tokenised, checked, split. Everything that can be wrong with them is said here, before step 0. */
import { quantile, UserError } from "../../base/index.js";
import { readRecords, sharedPrompts, splitByPrompt } from "../../datasets/index.js";
import { sha256 } from "../../runs/index.js";
import type { ChatRenderer, Tokenizer } from "../../text/index.js";
import { type DropReason, isTied, type PairRow, tokenizePair } from "./pair-rows.js";
import type { PreferenceConfig } from "./preference-config.js";

export interface PairStatistics {
  /** Rows of the training file. */
  readonly pairs: number;
  readonly dropped: Readonly<Record<DropReason, number>>;
  readonly truncated: number;
  /** Pairs whose answers are the same. */
  readonly tied: number;
  readonly tokens: number;
  readonly answerTokens: number;
  /** Tokens of a prompt with an answer. */
  readonly length: { readonly min: number; readonly median: number; readonly max: number };
}

export interface PairData {
  readonly train: readonly PairRow[];
  readonly validation: readonly PairRow[];
  /** Of the training file as a whole. */
  readonly statistics: PairStatistics;
  /** Sentences for the user; none stops the run. */
  readonly warnings: readonly string[];
  /** File → SHA-256 of its content, for the run's record. */
  readonly dataHashes: Readonly<Record<string, string>>;
}

export interface LoadPairDataOptions {
  readonly tokenizer: Tokenizer;
  /** Needed for conversations only. */
  readonly renderer?: ChatRenderer;
  /** Told now and then how many rows of a file are tokenised. */
  readonly onProgress?: (path: string, rows: number) => void;
}

/** @throws UserError with file and line for a bad row, with counts for bad data */
export async function loadPairData(
  config: PreferenceConfig,
  options: LoadPairDataOptions,
): Promise<PairData> {
  const { data } = config;
  const file = await loadPairs(config, options, data.train);
  const dataHashes: Record<string, string> = { [data.train]: sha256(data.train) };
  const shared = { statistics: file.statistics, dataHashes };
  if (data.validation !== undefined) {
    const other = await loadPairs(config, options, data.validation);
    dataHashes[data.validation] = sha256(data.validation);
    const split = { train: file.rows, validation: other.rows };
    const warnings = [...file.warnings, ...other.warnings];
    const known = sharedPrompts(split);
    if (known > 0) {
      warnings.push(
        `${known} of ${other.rows.length} pairs of ${data.validation} have a prompt that is trained on: their figures will flatter`,
      );
    }
    return { ...split, ...shared, warnings };
  }
  const { warnings } = file;
  if (data.validationFraction === 0) return { train: file.rows, validation: [], ...shared, warnings };
  return { ...splitByPrompt(file.rows, data.validationFraction, config.seed), ...shared, warnings };
}

interface LoadedPairs {
  readonly rows: readonly PairRow[];
  readonly statistics: PairStatistics;
  readonly warnings: string[];
}

const PROGRESS_EVERY = 1000;

async function loadPairs(
  config: PreferenceConfig,
  { tokenizer, renderer, onProgress }: LoadPairDataOptions,
  path: string,
): Promise<LoadedPairs> {
  const { data, maxLength, truncation } = config;
  const { addBos, addEos, asChat, system, promptIn } = data;
  const tokenize = { tokenizer, maxLength, truncation, addBos, addEos };
  const rows: PairRow[] = [];
  const lines: Record<DropReason, number[]> = { "empty answer": [], "prompt too long": [] };
  let pairs = 0;
  let truncated = 0;
  let unordered = 0;
  const columns = Object.entries(data.columns ?? {}).filter(([, column]) => column !== undefined);
  const mapping = {
    ...(columns.length === 0 ? {} : { columns: Object.fromEntries(columns) }),
    asChat,
    ...(system === undefined ? {} : { system }),
  };
  for await (const record of readRecords(path, { kind: "preference", promptIn, mapping })) {
    if (record.kind !== "preference") throw new Error(`internal: ${path} was read as ${record.kind}`);
    const at = `${path}:${record.line}`;
    const options = renderer === undefined ? tokenize : { ...tokenize, renderer };
    const tokenized = tokenizePair(record, options, at);
    pairs++;
    if (pairs % PROGRESS_EVERY === 0) onProgress?.(path, pairs);
    if (tokenized.kind === "dropped") {
      lines[tokenized.reason].push(tokenized.line);
      continue;
    }
    rows.push(tokenized.row);
    if (tokenized.isTruncated) truncated++;
    const { chosenScore, rejectedScore } = record;
    if (chosenScore !== undefined && rejectedScore !== undefined && chosenScore <= rejectedScore) unordered++;
  }
  const tied = rows.filter(isTied).length;
  const warnings = checkPairs(config, { path, pairs, lines, truncated, tied, unordered, kept: rows.length });
  const answers = rows.flatMap(({ chosen, rejected }) => [chosen, rejected]);
  const lengths = answers.map(({ tokens_T }) => tokens_T.length);
  const statistics: PairStatistics = {
    pairs,
    dropped: {
      "empty answer": lines["empty answer"].length,
      "prompt too long": lines["prompt too long"].length,
    },
    truncated,
    tied,
    tokens: lengths.reduce((a, b) => a + b, 0),
    answerTokens: answers.reduce((sum, { lossMask_T }) => sum + lossMask_T.reduce((a, b) => a + b, 0), 0),
    length: { min: quantile(lengths, 0), median: quantile(lengths, 0.5), max: quantile(lengths, 1) },
  };
  return { rows, statistics, warnings };
}

interface PairFacts {
  readonly path: string;
  readonly pairs: number;
  readonly kept: number;
  readonly lines: Readonly<Record<DropReason, readonly number[]>>;
  readonly truncated: number;
  readonly tied: number;
  /** Pairs whose own scores do not put the chosen answer first. */
  readonly unordered: number;
}

/** Warnings. @throws UserError for data that teaches nothing, or of which too much is dropped */
function checkPairs({ data, maxLength }: PreferenceConfig, facts: PairFacts): string[] {
  const { path, pairs, kept, lines, truncated, tied, unordered } = facts;
  if (pairs === 0) throw new UserError(`Cannot train on ${path}: it has no rows, expected pairs`);
  const reasons = Object.entries({
    "empty answer": "an answer without tokens",
    "prompt too long": `a prompt that leaves no room for its answers within maxLength ${maxLength}`,
  } satisfies Record<DropReason, string>).flatMap(([reason, text]) => {
    const found = lines[reason as DropReason]; // a key of the literal above
    return found.length === 0 ? [] : [`${found.length} with ${text} (${nameLines(path, found)})`];
  });
  const dropped = pairs - kept;
  const told = `${dropped} of ${pairs} pairs are left out: ${reasons.join("; ")}`;
  if (kept === 0 || dropped > data.maxDroppedFraction * pairs) {
    throw new UserError(
      `Cannot train on ${path}: ${told}; expected at most a share of ${data.maxDroppedFraction} (data.maxDroppedFraction). Mend the rows, raise maxLength, or set truncation: keep_end`,
    );
  }
  if (tied === kept) {
    throw new UserError(
      `Cannot train on ${path}: chosen and rejected are the same in all ${kept} pairs, expected pairs in which one answer is better. Leave ties out`,
    );
  }
  return [
    ...(dropped > 0 ? [told] : []),
    ...(truncated > 0
      ? [`${truncated} of ${kept} pairs are longer than maxLength ${maxLength} and cut`]
      : []),
    ...(tied > 0
      ? [`${tied} of ${kept} pairs have the same answer twice: they teach no preference and count as misses`]
      : []),
    ...(unordered > 0
      ? [`${unordered} of ${kept} pairs have a chosen score that is not above the rejected one`]
      : []),
  ];
}

function nameLines(path: string, lines: readonly number[]): string {
  const named = lines.slice(0, 3).map((line) => `${path}:${line}`);
  return named.join(", ") + (lines.length > named.length ? " …" : "");
}
