/** Does a tokenizer fit a model's embedding? Numbers only; knows nothing about weights. */
import { UserError } from "../base/index.js";
import type { Tokenizer } from "./tokenizer.js";

/** @throws UserError when the tokenizer of `directory` can give an id for which the embedding has no row */
export function checkFits(tokenizer: Tokenizer, directory: string, embeddingRows: number): void {
  if (tokenizer.vocabSize <= embeddingRows) return;
  throw new UserError(
    `Cannot use tokenizer of ${directory} with its model: its largest id is ${tokenizer.vocabSize - 1} but the embedding has ${embeddingRows} rows, expected at least ${tokenizer.vocabSize}. Use the tokenizer that the model was made with, or enlarge the embedding`,
  );
}
