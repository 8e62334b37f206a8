/** KL(p ‖ q) in nats from samples of p, as plain numbers: for gates, guards and metrics. */
import { mean, zip } from "../base/index.js";

/** Means over the tokens. k1 is unbiased and may be negative, k2 is biased, k3 is unbiased and never negative. */
export interface KlEstimates {
  readonly k1: number;
  readonly k2: number;
  readonly k3: number;
}

/**
 *     d = log q − log p at samples of p:    k1 = −d,    k2 = d²/2,    k3 = eᵈ − d − 1
 *
 * J. Schulman 2020, "Approximating KL divergence". With p the trainer's policy and q the reference, this is the KL that
 * the losses add; with p the sampler and q the trainer, it says how far the two have drifted apart.
 */
export function klEstimates(logprobsOfP: readonly number[], logprobsOfQ: readonly number[]): KlEstimates {
  const gaps = zip(logprobsOfQ, logprobsOfP, "logprobs of p and q").map(([q, p]) => q - p);
  return {
    k1: mean(gaps.map((d) => -d)),
    k2: mean(gaps.map((d) => (d * d) / 2)),
    k3: mean(gaps.map((d) => Math.expm1(d) - d)),
  };
}
