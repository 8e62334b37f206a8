/** The distribution a token is drawn from: the model's logits after penalty, temperature and truncation. */
import type { SamplingParams } from "../../protocol/index.js";
import { expNonPositive } from "./exponential.js";
import { greatest, logNormalizer, logSumExp } from "./normalizer.js";
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
  /** log Σ eˣ of the model's logits as they are. */
  rawLogNormalizer = 0;
  /** The greatest penalised logit, and the temperature; they give logprobs without the rounding of weights. */
  #greatest = 0;
  #temperature = 1;
  #logits: Float32Array;
  readonly #penalised: Float32Array;
  readonly #scores: Float32Array;
  readonly #nucleus: NucleusScratch;
  /** `tokens` counts 0, 1, 2 … as nothing has been left out since it last did. */
  #holdsAll = false;

  constructor(readonly vocabularySize: number) {
    this.tokens = new Int32Array(vocabularySize);
    this.weights = new Float64Array(vocabularySize);
    this.#penalised = new Float32Array(vocabularySize);
    this.#scores = new Float32Array(Math.max(vocabularySize, 64));
    this.#nucleus = createNucleusScratch(vocabularySize);
    this.#logits = this.#penalised;
  }

  /**
   * Takes the model's logits; `seen` are the tokens of prompt and completion. `temperature` must be above 0.
   *
   * @throws UserError for logits that are no numbers
   */
  set(logits_V: Float32Array, params: DrawParams, seen: Iterable<number>): void {
    const { temperature, topK, topP, minP, repetitionPenalty } = params;
    const logits = this.penalised(logits_V, repetitionPenalty, seen);
    const most = greatest(logits_V);
    this.#logits = logits;
    this.#temperature = temperature;
    this.#greatest = logits === logits_V ? most : greatest(logits);
    const isTruncated = topK > 0 && topK < logits.length;
    const isRaw = !isTruncated && logits === logits_V && temperature === 1;
    if (!isRaw) this.rawLogNormalizer = logSumExp(logits_V, most);
    if (isTruncated) this.#keepFrom(kthGreatest(logits, topK, this.#scores));
    else this.#keepAll();
    if (isRaw) this.rawLogNormalizer = logNormalizer(logits_V, most, this.total);
    if (topP < 1) this.#keepNucleus(topP);
    if (minP > 0) this.#keepWeights(minP, this.count);
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
    let total = 0;
    for (let id = 0; id < logits.length; id++) {
      const weight = expNonPositive((logits[id]! - most) / temperature);
      weights[id] = weight;
      total += weight;
    }
    if (!this.#holdsAll) for (let id = 0; id < tokens.length; id++) tokens[id] = id;
    this.#holdsAll = true;
    this.count = logits.length;
    this.total = total;
  }

  #keepFrom(threshold: number): void {
    const { tokens, weights } = this;
    const [logits, most, temperature] = [this.#logits, this.#greatest, this.#temperature];
    let [count, total] = [0, 0];
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id]!;
      if (!(logit >= threshold)) continue;
      const weight = expNonPositive((logit - most) / temperature);
      tokens[count] = id;
      weights[count++] = weight;
      total += weight;
    }
    this.#holdsAll = false;
    this.count = count;
    this.total = total;
  }

  #keepNucleus(topP: number): void {
    const allowed = (1 - topP) * this.total;
    // Weights this small cannot add up to what may be left out: most of a vocabulary goes before anything is searched.
    const before = this.total;
    this.#keepWeights(allowed / this.count, this.count);
    const removed = before - this.total;
    const { weight, ties } = nucleusEdge(this.weights, this.count, allowed - removed, this.#nucleus);
    this.#keepWeights(weight, ties);
  }

  /** Keeps weights above `edge`, and the first `ties` of those equal to it. */
  #keepWeights(edge: number, ties: number): void {
    const { tokens, weights } = this;
    let [count, total, left] = [0, 0, ties];
    for (let i = 0; i < this.count; i++) {
      const weight = weights[i]!;
      if (!(weight > edge || (weight === edge && left-- > 0))) continue;
      tokens[count] = tokens[i]!;
      weights[count++] = weight;
      total += weight;
    }
    this.#holdsAll = false;
    this.count = count;
    this.total = total;
  }
}
