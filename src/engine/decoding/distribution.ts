/** The distribution a token is drawn from: the model's logits after penalty, temperature and truncation. */
import type { SamplingParams } from "../../protocol/index.js";
import { expNonPositive } from "./exponential.js";
import { createNucleusScratch, kthGreatest, type NucleusScratch, nucleusEdge } from "./thresholds.js";

/** What of the sampling parameters concerns a single token. */
export type DrawParams = Pick<SamplingParams, "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty">;

/**
 * Tokens that may be drawn with their weights, made anew by every `set` in memory made once.
 *
 *     z = penalised logits / T      q_i = e^(z_i - max z) / total   over the tokens kept
 *
 * Steps, each as transformers defines it: the repetition penalty divides positive logits of seen tokens and multiplies
 * negative ones; top-k keeps every token that equals the k-th; top-p keeps the token that crosses p (`nucleusEdge`); min-p
 * keeps what is at least that fraction of the likeliest. Sums are in float64.
 */
export class TokenDistribution {
  /** The first `count` of `tokens` may be drawn, with probabilities `weights` / `total`; ids ascend. */
  readonly tokens: Int32Array;
  readonly weights: Float64Array;
  count = 0;
  total = 0;
  /** The greatest penalised logit, and the temperature; they give logprobs without the rounding of weights. */
  #greatest = 0;
  #temperature = 1;
  readonly #penalised: Float32Array;
  readonly #scores: Float32Array;
  readonly #nucleus: NucleusScratch;
  /** `tokens` counts 0, 1, 2 … as nothing has been left out since it last did. */
  #holdsAll = false;
  #logits: Float32Array;

  constructor(readonly vocabularySize: number) {
    this.tokens = new Int32Array(vocabularySize);
    this.weights = new Float64Array(vocabularySize);
    this.#penalised = new Float32Array(vocabularySize);
    this.#scores = new Float32Array(Math.max(vocabularySize, 64));
    this.#nucleus = createNucleusScratch(vocabularySize);
    this.#logits = this.#penalised;
  }

  /** Takes the model's logits; `seen` are the tokens of prompt and completion. `temperature` must be above 0. */
  set(logits_V: Float32Array, params: DrawParams, seen: Iterable<number>): void {
    const { temperature, topK, topP, minP } = params;
    const logits = this.penalised(logits_V, params.repetitionPenalty, seen);
    this.#logits = logits;
    this.#temperature = temperature;
    this.#greatest = greatest(logits);
    if (topK > 0 && topK < logits.length) this.#keepFrom(kthGreatest(logits, topK, this.#scores));
    else this.#keepAll();
    const { weights } = this;
    if (topP < 1) {
      const { weight: edge, ties } = nucleusEdge(weights, this.count, topP, this.#nucleus);
      let left = ties;
      this.#filter((weight) => weight > edge || (weight === edge && left-- > 0));
    }
    if (minP > 0) this.#filter((weight) => weight >= minP);
    let total = 0;
    for (let i = 0; i < this.count; i++) total += weights[i]!;
    this.total = total;
  }

  /** Logits after the repetition penalty: `logits_V` itself where there is none, else memory that the next call reuses. */
  penalised(logits_V: Float32Array, penalty: number, seen: Iterable<number>): Float32Array {
    if (penalty === 1) return logits_V;
    const penalised = this.#penalised;
    penalised.set(logits_V);
    // Read from the original, so that a token seen twice is penalised once.
    for (const token of seen) {
      const logit = logits_V[token]!;
      penalised[token] = logit < 0 ? logit * penalty : logit / penalty;
    }
    return penalised;
  }

  /** Log-probability of `tokens[i]`. */
  logprobAt(i: number): number {
    const logit = this.#logits[this.tokens[i]!]!;
    return (logit - this.#greatest) / this.#temperature - Math.log(this.total);
  }

  #keepAll(): void {
    const { tokens, weights } = this;
    const [logits, most, temperature] = [this.#logits, this.#greatest, this.#temperature];
    for (let id = 0; id < logits.length; id++)
      weights[id] = expNonPositive((logits[id]! - most) / temperature);
    if (!this.#holdsAll) for (let id = 0; id < tokens.length; id++) tokens[id] = id;
    this.#holdsAll = true;
    this.count = logits.length;
  }

  #keepFrom(threshold: number): void {
    const { tokens, weights } = this;
    const [logits, most, temperature] = [this.#logits, this.#greatest, this.#temperature];
    let count = 0;
    for (let id = 0; id < logits.length; id++) {
      if (!(logits[id]! >= threshold)) continue;
      tokens[count] = id;
      weights[count++] = expNonPositive((logits[id]! - most) / temperature);
    }
    this.#holdsAll = false;
    this.count = count;
  }

  #filter(keeps: (weight: number) => boolean): void {
    const { tokens, weights } = this;
    let count = 0;
    for (let i = 0; i < this.count; i++) {
      const weight = weights[i]!;
      if (!keeps(weight)) continue;
      tokens[count] = tokens[i]!;
      weights[count++] = weight;
    }
    this.#holdsAll = false;
    this.count = count;
  }
}

function greatest(logits: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) if (logits[id]! > most) most = logits[id]!;
  return most;
}
