/** Environments: what a policy acts in, and what its actions earn. */
export type { Action, Env, EnvSet, EnvTask, Observation, StepResult } from "./env.js";
