/**
 * DAPO: Decoupled Clip and Dynamic sAmpling Policy Optimization. GRPO with an upper clip that leaves unlikely tokens
 * more room ("clip higher"), a loss that counts tokens, groups without spread replaced (dynamic-sampling.ts), a soft
 * penalty of overlong answers (overlong-penalty.ts), and no KL.
 *
 *     L = 1/Σ_i|o_i| Σ_i Σ_t −min(ρ_it A_i, clip(ρ_it, 1 − ε_low, 1 + ε_high) A_i),    ε_low 0.2, ε_high 0.28
 *
 * Paper: arXiv:2503.14476, equation 8. The tokens are those of the whole generation batch, as in TRL
 * (`loss_type="dapo"`, where `epsilon_high` is 0.2 unless it is set).
 */
import type { Algorithm } from "./algorithm.js";
import { grpo } from "./grpo.js";

export const dapo = {
  name: "dapo",
  lossFn: "grpo",
  defaults: { aggregation: "batch_token_mean", epsilonHigh: 0.28 },
  advantages: grpo.advantages,
} satisfies Algorithm;
