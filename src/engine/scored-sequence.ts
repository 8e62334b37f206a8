/** A sequence whose score is asked for, as what the engine packs. */
import { UserError } from "../base/index.js";
import { LOSSES, type Loss } from "../losses/index.js";
import { type Example, firstForeignId } from "./batch.js";

export interface ScoredSequence {
  readonly tokens: readonly number[];
  /** The token at which the score is read. @default the last one given */
  readonly at?: number;
}

/** The reward model's loss with datums on their own: of it only the place of the score is read. */
export const SCORING: Loss = { ...LOSSES.bradley_terry, inputs: ["weights"], datumsPerExample: 1 };

/** @throws UserError naming the sequence and what does not fit */
export function scoredExample(
  { tokens, at = tokens.length - 1 }: ScoredSequence,
  index: number,
  vocabularySize: number,
): Example {
  const refuse = (what: string): UserError => new UserError(`Cannot score sequence ${index}: ${what}`);
  if (tokens.length === 0) throw refuse("it has 0 tokens, expected at least 1");
  if (!(Number.isInteger(at) && at >= 0 && at < tokens.length))
    throw refuse(`at is ${at}, expected the index of one of its ${tokens.length} tokens`);
  const foreign = firstForeignId(tokens, vocabularySize);
  if (foreign >= 0)
    throw refuse(
      `token ${tokens[foreign]} at position ${foreign}, expected an id below the vocabulary size ${vocabularySize}`,
    );
  return {
    tokens_T: tokens,
    targets_T: tokens,
    lossInputs: { weights: tokens.map((_, position) => Number(position === at)) },
  };
}
