/**
 * A preference as token ids: prompt and chosen answer, the same prompt and the rejected one, and no longer than the limit.
 *
 * A pair is cut as one, so that both answers keep the same prompt. `keep_start` cuts at the end; an answer of which nothing
 * is left drops its pair. `keep_end` cuts as many tokens from the start of the prompt as the longer side has too many, but
 * leaves one; what is still too long then loses its end.
 */
import { createHash } from "node:crypto";
import type { Answer } from "../../algorithms/index.js";
import { UserError } from "../../base/index.js";
import {
  type PreferencePair,
  pairExamples,
  promptKey,
  type TokenizeOptions,
  type TruncationPolicy,
  tokenizeExample,
} from "../../datasets/index.js";

/** A pair that can be trained on: both answers have at least one token. */
export interface PairRow {
  readonly chosen: Answer;
  readonly rejected: Answer;
  readonly margin: number;
  readonly category: string | undefined;
  /** The line of the file it came from. */
  readonly line: number;
  /** Equal for pairs with the same prompt. */
  readonly promptKey: string;
}

export interface PairLimits {
  readonly maxLength: number;
  readonly truncation: TruncationPolicy;
}

/** Why a pair cannot be trained on. */
export type DropReason = "empty answer" | "prompt too long";

export type TokenizedPair =
  | { readonly kind: "row"; readonly row: PairRow; readonly isTruncated: boolean }
  | { readonly kind: "dropped"; readonly reason: DropReason; readonly line: number };

/** @throws UserError for a pair that is too long where `truncation` is "refuse" */
export function tokenizePair(
  pair: PreferencePair,
  { maxLength, truncation, ...options }: PairLimits & TokenizeOptions,
  at: string,
): TokenizedPair {
  const examples = pairExamples(pair);
  const sides = [examples.chosen, examples.rejected].map((example): Answer => {
    const { tokens_T, lossMask_T } = tokenizeExample(example, { ...options, trainOn: "completions" }, at);
    return { tokens_T, lossMask_T: Array.from(lossMask_T) };
  });
  if (sides.some(({ lossMask_T }) => !lossMask_T.includes(1))) {
    return { kind: "dropped", reason: "empty answer", line: pair.line };
  }
  const longest = Math.max(...sides.map(({ tokens_T }) => tokens_T.length));
  if (longest > maxLength && truncation === "refuse") {
    throw new UserError(
      `Cannot use ${at}: the pair has ${longest} tokens, expected at most maxLength ${maxLength}. Raise maxLength, or set truncation to "keep_start" or "keep_end"`,
    );
  }
  const promptLength = Math.min(...sides.map(({ lossMask_T }) => lossMask_T.indexOf(1)));
  const cut = truncation === "keep_end" ? Math.min(Math.max(0, longest - maxLength), promptLength - 1) : 0;
  const [chosen, rejected] = sides.map(
    ({ tokens_T, lossMask_T }): Answer => ({
      tokens_T: tokens_T.slice(cut, cut + maxLength),
      lossMask_T: lossMask_T.slice(cut, cut + maxLength),
    }),
  ) as [Answer, Answer]; // of two sides
  if (!chosen.lossMask_T.includes(1) || !rejected.lossMask_T.includes(1)) {
    return { kind: "dropped", reason: "prompt too long", line: pair.line };
  }
  const { margin = 0, category, line } = pair;
  const row = { chosen, rejected, margin, category, line, promptKey: promptKey(pair) };
  return { kind: "row", row, isTruncated: longest > maxLength };
}

/** Whether both answers are the same tokens: nothing is preferred. */
export function isTied({ chosen, rejected }: Pick<PairRow, "chosen" | "rejected">): boolean {
  return (
    chosen.tokens_T.length === rejected.tokens_T.length &&
    chosen.tokens_T.every((token, t) => token === rejected.tokens_T[t])
  );
}

/** SHA-256 of all that a pair trains with: tokens, masks, margins, in order. */
export function hashPairs(rows: readonly PairRow[]): string {
  const hash = createHash("sha256");
  for (const { chosen, rejected, margin } of rows) {
    hash.update(`${JSON.stringify([chosen, rejected].map(contentOf))} ${margin}\n`);
  }
  return hash.digest("hex");
}

const contentOf = ({ tokens_T, lossMask_T }: Answer): unknown => [tokens_T, lossMask_T.join("")];
