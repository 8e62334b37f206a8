import type { EnvSet } from "../../src/envs/index.js";
import type { Tokenizer } from "../../src/text/index.js";

export const LETTERS: string;
export const letterTokenizer: Tokenizer;
export const letterModel: Readonly<Record<string, unknown>>;
export function createLetterEnv(options?: {
  readonly letters?: string;
  readonly copies?: number;
  readonly length?: number;
}): EnvSet;
