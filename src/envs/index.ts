/** Environments: what a policy acts in, and what its actions earn. */
export type { Action, Env, EnvSet, EnvTask, Observation, StepResult } from "./env.js";
export {
  type BatteryOptions,
  checkEnv,
  describeEnv,
  ENV_CHECKS,
  type EnvCheck,
  type EnvProblem,
  type TestRunner,
} from "./env-battery.js";
export * from "./text-to-sql/index.js";
