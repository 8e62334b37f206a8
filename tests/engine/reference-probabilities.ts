/** Temperature, truncation and penalty by definition: sorts of everything, float64, nothing shared with src/engine/decoding. */

export interface ReferenceParams {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
}

/** The probability of every token. `logits` are the model's; `seen` the tokens that the penalty counts. */
export function referenceProbabilities(
  logits: ArrayLike<number>,
  { temperature, topK, topP, minP, repetitionPenalty }: ReferenceParams,
  seen: readonly number[] = [],
): number[] {
  const scores = Array.from(logits, (logit, token) => {
    if (repetitionPenalty === 1 || !seen.includes(token)) return logit / temperature;
    return Math.fround(logit < 0 ? logit * repetitionPenalty : logit / repetitionPenalty) / temperature;
  });
  let kept = new Set(scores.keys());
  if (topK > 0 && topK < scores.length) {
    const kth = [...scores].sort((a, b) => b - a)[topK - 1]!;
    kept = new Set([...kept].filter((token) => scores[token]! >= kth));
  }
  const greatest = Math.max(...scores);
  const weight = (token: number): number => Math.exp(scores[token]! - greatest);
  if (topP < 1) {
    const ascending = [...kept].sort((a, b) => scores[a]! - scores[b]! || b - a);
    const total = ascending.reduce((sum, token) => sum + weight(token), 0);
    let removed = 0;
    for (const token of ascending.slice(0, -1)) {
      removed += weight(token);
      if (removed > (1 - topP) * total) break;
      kept.delete(token);
    }
  }
  if (minP > 0) kept = new Set([...kept].filter((token) => weight(token) >= minP));
  const total = [...kept].reduce((sum, token) => sum + weight(token), 0);
  return scores.map((_, token) => (kept.has(token) ? weight(token) / total : 0));
}
