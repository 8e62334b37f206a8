/** How good the policy is on tasks it is not trained on: greedy rollouts, one per task. */
import { mean, UserError } from "../base/index.js";
import type { EnvTask } from "../envs/index.js";
import { rewardValue } from "../rollouts/index.js";
import { lastMetrics, meansOf, validGroups } from "./batch-statistics.js";
import type { RlConfig } from "./rl-config.js";
import { type RolloutConfig, type RolloutSource, rollOut } from "./rl-rollouts.js";

export interface Validation {
  /** The configured metric. */
  readonly score: number;
  /** `validation/reward`, and `validation/<metric>` for what the environment measures. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** @throws UserError when no rollout is valid, or none has the metric that is compared */
export async function validate(
  source: RolloutSource,
  config: RolloutConfig & Pick<RlConfig, "validation">,
  {
    tasks,
    step,
    signal,
  }: { readonly tasks: readonly EnvTask[]; readonly step: number; readonly signal?: AbortSignal | undefined },
): Promise<Validation> {
  const { metric } = config.validation;
  // The same numbers at every step: a validation differs from another by the weights alone.
  const groups = validGroups(
    await rollOut(source, config, { tasks, purpose: "validation", step: 0, isGreedy: true, signal }),
  );
  const trajectories = groups.flatMap((group) => group.trajectories);
  if (trajectories.length === 0) {
    throw new UserError(
      `Cannot validate step ${step}: none of ${tasks.length} rollouts has a valid reward, expected at least one`,
    );
  }
  const metrics = {
    "validation/reward": mean(trajectories.map(rewardValue)),
    ...meansOf("validation/", lastMetrics(trajectories)),
  };
  const score: number | undefined = (metrics as Readonly<Record<string, number>>)[`validation/${metric}`]; // a name like any other
  if (score === undefined || !Number.isFinite(score)) {
    throw new UserError(
      `Cannot validate step ${step}: validation.metric "${metric}" was not measured, expected one of ${Object.keys(
        metrics,
      )
        .map((name) => name.slice("validation/".length))
        .join(", ")}`,
    );
  }
  return { score, metrics };
}
