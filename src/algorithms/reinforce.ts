/**
 * REINFORCE with a running baseline: the oldest policy gradient, for tasks where one completion per prompt is enough.
 *
 *     A_i = r_i − b        b ← d·b + (1 − d)·mean(r) after each batch
 *     L = 1/Σ_i|o_i| Σ_i Σ_t −ρ_it A_i,    whose gradient at ρ = 1 is −A_i ∇log π_θ
 *
 * Paper: Williams 1992, "Simple statistical gradient-following algorithms", section 4 (reinforcement comparison).
 * The first batch's baseline is its own mean. The ratio corrects for a sampler that is not quite the trainer.
 */
import { mean } from "../base/index.js";
import type { Algorithm } from "./algorithm.js";

export const reinforce = {
  name: "reinforce",
  lossFn: "grpo",
  defaults: { aggregation: "batch_token_mean", epsilon: null },
  advantages: (rewards_P_G, { baselineDecay }, state) => {
    const rewards = rewards_P_G.flat();
    if (rewards.length === 0) return { advantages_P_G: rewards_P_G.map(() => []), state };
    const observed = mean(rewards);
    const baseline = state["baseline"] ?? observed;
    return {
      advantages_P_G: rewards_P_G.map((rewards_G) => rewards_G.map((reward) => reward - baseline)),
      state: { baseline: baselineDecay * baseline + (1 - baselineDecay) * observed },
    };
  },
} satisfies Algorithm;
