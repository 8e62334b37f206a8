/** Beam search as transformers defines it, one step at a time. The caller runs the model and forks its cache. */
import { logSumExp } from "./normalizer.js";
import { kthGreatest } from "./thresholds.js";

export interface BeamOptions {
  readonly numBeams: number;
  /** A beam of this many tokens ends as it is. */
  readonly maxTokens: number;
  /** Tokens that end a beam; they are part of it. */
  readonly stopTokens: readonly number[];
  /** Also ends a beam: for stop strings. */
  readonly isStop?: (tokens: readonly number[]) => boolean;
  /** A finished beam's score is its logprob over length^lengthPenalty: above 0 favours long ones. @default 1 */
  readonly lengthPenalty?: number;
  /**
   * When `numBeams` beams are finished: true stops; false stops when the best live beam, at its present length, is no
   * better than the worst finished one; "never" allows it the length that would serve it best. @default false
   */
  readonly earlyStopping?: boolean | "never";
}

/** A beam still growing. */
export interface Beam {
  readonly tokens: readonly number[];
  /** Raw logprob of each token. */
  readonly logprobs: readonly number[];
  /** Their sum. */
  readonly score: number;
  /** Its place among the live beams of the step before, whose cache it continues. */
  readonly parent: number;
}

export interface FinishedBeam {
  readonly tokens: readonly number[];
  readonly logprobs: readonly number[];
  /** Sum of the logprobs over length^lengthPenalty. */
  readonly score: number;
  readonly stopReason: "stop" | "length";
}

export interface BeamState {
  /** Best first; empty when the search is over. At first a single beam without tokens. */
  readonly live: readonly Beam[];
  /** Best first; `numBeams` at most. */
  readonly finished: readonly FinishedBeam[];
}

export const firstBeams = (): BeamState => ({
  live: [{ tokens: [], logprobs: [], score: 0, parent: 0 }],
  finished: [],
});

/**
 * The state after one more token. `logits_B_V` has the model's logits after each live beam, in their order; they are
 * read, never kept.
 *
 * Of all continuations the best (1 + stop tokens) · numBeams are looked at. Those that end among the best numBeams are
 * finished, those that do not end go on, and so numBeams always do. Equal scores: the earlier beam, then the lower id.
 */
export function nextBeams(
  { live, finished }: BeamState,
  logits_B_V: readonly Float32Array[],
  options: BeamOptions,
): BeamState {
  const { numBeams, maxTokens, stopTokens, isStop, lengthPenalty = 1 } = options;
  if (logits_B_V.length !== live.length) {
    throw new RangeError(
      `Cannot extend ${live.length} beams: ${logits_B_V.length} rows of logits, expected one for each`,
    );
  }
  const width = Math.max(2, 1 + stopTokens.length) * numBeams;
  const continuations = live
    .flatMap((beam, parent) => bestContinuations(beam, parent, logits_B_V[parent]!, width))
    .sort((a, b) => b.score - a.score)
    .slice(0, width);

  const length = (live[0]?.tokens.length ?? 0) + 1;
  const hasStopped = ({ tokens }: Beam): boolean =>
    stopTokens.includes(tokens[length - 1]!) || isStop?.(tokens) === true;
  const ended = continuations.map((beam) =>
    hasStopped(beam) ? "stop" : length >= maxTokens ? "length" : undefined,
  );
  const justFinished = continuations.slice(0, numBeams).flatMap(({ tokens, logprobs, score }, i) => {
    const stopReason = ended[i];
    return stopReason === undefined
      ? []
      : [{ tokens, logprobs, score: score / length ** lengthPenalty, stopReason } as const];
  });
  const allFinished = [...finished, ...justFinished].sort((a, b) => b.score - a.score).slice(0, numBeams);
  const next = continuations.filter((_, i) => ended[i] === undefined).slice(0, numBeams);
  return { live: mayImprove(next, allFinished, options) ? next : [], finished: allFinished };
}

/** Whether the best live beam could still become one of the best finished ones, by the rule asked for. */
function mayImprove(
  live: readonly Beam[],
  finished: readonly FinishedBeam[],
  { numBeams, maxTokens, lengthPenalty = 1, earlyStopping = false }: BeamOptions,
): boolean {
  const best = live[0];
  if (best === undefined) return false;
  if (finished.length < numBeams) return true;
  if (earlyStopping === true) return false;
  const length = earlyStopping === "never" && lengthPenalty > 0 ? maxTokens : best.tokens.length;
  return best.score / length ** lengthPenalty > finished[numBeams - 1]!.score;
}

function bestContinuations(beam: Beam, parent: number, logits_V: Float32Array, width: number): Beam[] {
  const logNormalizer = logSumExp(logits_V);
  const threshold = kthGreatest(logits_V, width, new Float32Array(Math.max(2 * width, 64)));
  const tokens: number[] = [];
  for (let token = 0; token < logits_V.length; token++) {
    const logit = logits_V[token]!;
    if (logit >= threshold && logit > Number.NEGATIVE_INFINITY) tokens.push(token);
  }
  return tokens
    .sort((a, b) => logits_V[b]! - logits_V[a]! || a - b)
    .slice(0, width)
    .map((token) => {
      const logprob = logits_V[token]! - logNormalizer;
      return {
        tokens: [...beam.tokens, token],
        logprobs: [...beam.logprobs, logprob],
        score: beam.score + logprob,
        parent,
      };
    });
}
