/** Which checkpoints of a run are worth their space. Pure. */

export interface ScoredStep {
  readonly step: number;
  /** Validation loss, lower is better; null where none was measured. */
  readonly score: number | null;
}

/**
 * The steps to keep: the `keepBest` with the lowest score (those without a score rank last, newer ones first; equal
 * scores go to the earlier step), and the latest, which a resumed run needs.
 */
export function stepsToKeep(checkpoints: readonly ScoredStep[], keepBest: number): ReadonlySet<number> {
  const byScore = [...checkpoints].sort((a, b) => {
    const left = rankOf(a.score);
    const right = rankOf(b.score);
    if (left !== right) return left < right ? -1 : 1;
    return left === Number.POSITIVE_INFINITY ? b.step - a.step : a.step - b.step;
  });
  const latest = checkpoints.reduce((last, { step }) => Math.max(last, step), -1);
  return new Set([...byScore.slice(0, keepBest).map(({ step }) => step), ...(latest < 0 ? [] : [latest])]);
}

/** A score that is missing or not a number is worse than any other. */
function rankOf(score: number | null): number {
  return score === null || Number.isNaN(score) ? Number.POSITIVE_INFINITY : score;
}
