/**
 * BNPO as TRL calls it (`loss_type="bnpo"`): GRPO whose loss is a mean over the tokens of the minibatch.
 *
 *     L = 1/Σ_i|o_i| Σ_i Σ_t −min(ρ_it A_i, clip(ρ_it, 1 − ε, 1 + ε) A_i) + β KL_it
 *
 * Differs from GRPO: a long completion counts for more than a short one. Differs from DAPO: each minibatch is divided
 * by its own tokens, so that a minibatch of short completions is not the weaker one. Differs from TRL: the tokens are
 * those of the optimizer step, not of a device's micro-batch, so that the split into micro-batches changes nothing.
 * (The paper of this name, arXiv:2506.02864, normalises rewards by a beta distribution; TRL does not.)
 */
import type { Algorithm } from "./algorithm.js";
import { grpo } from "./grpo.js";

export const bnpo = {
  name: "bnpo",
  lossFn: "grpo",
  defaults: { aggregation: "token_mean" },
  advantages: grpo.advantages,
} satisfies Algorithm;
