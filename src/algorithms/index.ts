/** Formula room: rewards to advantages, and a batch of rollouts to datums. One file per algorithm. */
import type { Algorithm } from "./algorithm.js";
import { bnpo } from "./bnpo.js";
import { cispo } from "./cispo.js";
import { dapo } from "./dapo.js";
import { drGrpo } from "./dr-grpo.js";
import { grpo } from "./grpo.js";
import { gspo } from "./gspo.js";
import { reinforce } from "./reinforce.js";
import { rloo } from "./rloo.js";

export type { Advantages, Algorithm, AlgorithmState } from "./algorithm.js";
export { DEFAULT_SETTINGS, PolicySettings } from "./settings.js";

export const ALGORITHMS = {
  grpo,
  dr_grpo: drGrpo,
  dapo,
  bnpo,
  gspo,
  cispo,
  rloo,
  reinforce,
} as const satisfies Readonly<Record<string, Algorithm>>;

export type AlgorithmName = keyof typeof ALGORITHMS;
