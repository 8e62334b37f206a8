/** The metrics of the RL loop, defined once: the documentation is made from this table. Names are TRL's where it has one. */
import type { MetricDefinition } from "./metrics.js";

const ofTraining = (unit: string, meaning: string): MetricDefinition => ({ unit, meaning, isMachine: false });
const ofMachine = (unit: string, meaning: string): MetricDefinition => ({ unit, meaning, isMachine: true });

/** `<…>` in a name stands for a reward component, or for what the environment measures. */
export const RL_METRICS = {
  reward: ofTraining("1", "Mean reward of the valid episodes"),
  reward_std: ofTraining("1", "Standard deviation (n − 1) of their rewards, over the whole batch"),
  frac_reward_zero_std: ofTraining(
    "share",
    "Episodes of groups whose rewards are all equal: their advantages are 0",
  ),
  "rewards/<component>/mean": ofTraining("1", "Mean score of a reward component, before its weight"),
  "rewards/<component>/std": ofTraining("1", "Its standard deviation (n − 1) over the batch"),
  "env/<metric>": ofTraining("1", "Mean of what the environment measured in the last turn of an episode"),
  "completions/mean_length": ofTraining("tokens", "Sampled tokens of an episode"),
  "completions/min_length": ofTraining("tokens", "The shortest"),
  "completions/max_length": ofTraining("tokens", "The longest"),
  "completions/clipped_ratio": ofTraining("share", "Episodes cut off at maxTokens or maxTurns"),
  "completions/mean_terminated_length": ofTraining(
    "tokens",
    "Mean length of those that ended by themselves; 0 when none did",
  ),
  "completions/min_terminated_length": ofTraining("tokens", "The shortest of those"),
  "completions/max_terminated_length": ofTraining("tokens", "The longest of those"),
  loss: ofTraining(
    "nats",
    "The loss, averaged over the step's updates; near 0 in value even while learning, because advantages add up to 0",
  ),
  kl: ofTraining(
    "nats per token",
    "KL to the reference, by the estimator of the loss; where settings.beta is above 0",
  ),
  policy_kl: ofTraining(
    "nats per token",
    "Mean of log π_old − log π_θ over the step's updates: how far a batch moves the policy",
  ),
  entropy: ofTraining(
    "nats per token",
    "Entropy of the policy, or where the loss does not know it −mean logprob of the sampled tokens",
  ),
  "clip_ratio/low_mean": ofTraining(
    "share",
    "Tokens (GSPO, RLOO: completions) clipped below, where the advantage is negative",
  ),
  "clip_ratio/low_min": ofTraining("share", "The least of a completion"),
  "clip_ratio/high_mean": ofTraining("share", "Tokens clipped above, where the advantage is positive"),
  "clip_ratio/high_max": ofTraining("share", "The largest of a completion"),
  "clip_ratio/region_mean": ofTraining("share", "Both together"),
  "sampling/sampling_logp_difference/mean": ofTraining(
    "nats",
    "Mean |log μ − log π| of sampled tokens between sampler and trainer, before the first update of the step",
  ),
  "sampling/sampling_logp_difference/max": ofTraining("nats", "The largest"),
  "sampling/importance_sampling_ratio/min": ofTraining(
    "1",
    "The least π/μ of a sampled token between trainer and sampler, before any truncation",
  ),
  "sampling/importance_sampling_ratio/mean": ofTraining("1", "Its mean"),
  "sampling/importance_sampling_ratio/max": ofTraining("1", "The largest"),
  num_tokens: ofTraining("tokens", "Tokens learned from so far, prompts included"),
  "rollouts/total": ofTraining("rollouts", "Episodes so far, also those not learned from"),
  "rollouts/invalid_ratio": ofTraining(
    "share",
    "Episodes of the step without a valid reward; they are left out",
  ),
  "rollouts/rounds": ofTraining(
    "rounds",
    "Times that prompts were drawn for the step; above 1 with dynamicSampling",
  ),
  "rollouts/groups": ofTraining("groups", "Groups learned from"),
  "optimizer/learning_rate": ofTraining("1", "Learning rate of the step, with what guards made of it"),
  "optimizer/grad_norm": ofTraining(
    "1",
    "Global L2 norm of the gradient before clipping, the last of the step",
  ),
  "validation/<metric>": ofTraining(
    "1",
    "reward and env metrics of greedy rollouts on the validation tasks, after the step",
  ),
  "guards/learning_rate_scale": ofTraining("1", "What guards have made of the learning rate"),
  "time/step_seconds": ofMachine("seconds", "The whole step"),
  "time/sampling_seconds": ofMachine("seconds", "Rollouts: sampling and the environment"),
  "time/logprobs_seconds": ofMachine("seconds", "Logprobs of reference and trainer"),
  "time/update_seconds": ofMachine("seconds", "forwardBackward and optimStep"),
  "time/validation_seconds": ofMachine("seconds", "Validation"),
  "tokens/per_second": ofMachine(
    "tokens per second",
    "Tokens of the step's rollouts, prompts included, by its time",
  ),
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** Whether a name that is logged is one of the table. */
export function isRlMetric(name: string): boolean {
  return Object.keys(RL_METRICS).some((known) => {
    const escaped = known.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return new RegExp(`^${escaped.replace(/<[^>]*>/g, ".+")}$`).test(name);
  });
}
