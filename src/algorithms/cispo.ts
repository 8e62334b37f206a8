/**
 * CISPO: the ratio is a constant weight, cut off above, so that no token loses its gradient to the clip.
 *
 *     L = 1/Σ_i|o_i| Σ_i Σ_t −sg(min(ρ_it, ε_high)) A_i log π_θ(o_it)
 *
 * Paper: MiniMax-M1, arXiv:2506.13585, equation 4. As in TRL (`loss_type="cispo"`), `epsilonHigh` is the largest ratio
 * itself, not its distance from 1, and there is no lower bound. TRL's default of 0.2 would shrink every token; 5 is
 * what its documentation advises, after ScaleRL (arXiv:2510.13786).
 */
import { type Algorithm, UNBOUNDED } from "./algorithm.js";
import { grpo } from "./grpo.js";

export const cispo = {
  name: "cispo",
  lossFn: "weighted_cispo",
  defaults: { aggregation: "batch_token_mean", epsilonHigh: 5 },
  advantages: grpo.advantages,
  clipBounds: ({ epsilon, epsilonHigh }) => [0, epsilonHigh ?? epsilon ?? UNBOUNDED],
} satisfies Algorithm;
