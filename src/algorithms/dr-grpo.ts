/**
 * Dr. GRPO ("GRPO done right"): GRPO without its two biases. Not dividing by the group's std stops favouring questions
 * that are nearly always or nearly never solved; dividing by a constant length stops favouring long wrong answers.
 *
 *     A_i = r_i − mean(r)
 *     L = 1/(B · L_max) Σ_i Σ_t −min(ρ_it A_i, clip(ρ_it, 1 − ε, 1 + ε) A_i)
 *
 * Paper: arXiv:2503.20783, section 3.2. L_max is `maxCompletionLength`, as in TRL (`loss_type="dr_grpo"`).
 * Differs from TRL: there `scale_rewards` stays "group" unless it is set; here it is "none", as in the paper.
 */
import type { Algorithm } from "./algorithm.js";
import { grpo } from "./grpo.js";

export const drGrpo = {
  name: "dr_grpo",
  lossFn: "grpo",
  defaults: { scaleRewards: "none", aggregation: "constant_length" },
  advantages: grpo.advantages,
} satisfies Algorithm;
