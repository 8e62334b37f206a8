/** What a step learns from its rollouts: logprobs that are lacking, advantages, updates. Knows no algorithm by name. */
import { ALGORITHMS, type AlgorithmState, type PolicySequence, policyBatch } from "../algorithms/index.js";
import { mean, UserError, zip } from "../base/index.js";
import type { Datum, ForwardBackwardOutput, TrainingClient } from "../protocol/index.js";
import type { Trajectory, TrajectoryGroup } from "../rollouts/index.js";
import { gradNormOf } from "./cross-entropy.js";
import type { RlConfig } from "./rl-config.js";
import { sampledMask, trajectoryLogprobs } from "./trajectory-logprobs.js";

/** Who knows the logprobs of the reference policy. */
export interface Reference {
  readonly client: Pick<TrainingClient, "forward">;
  /** The policy's own client with its adapter left out. */
  readonly withoutAdapter: boolean;
}

export type UpdateConfig = Pick<
  RlConfig,
  | "algorithm"
  | "settings"
  | "sampling"
  | "epochsPerBatch"
  | "updatesPerEpoch"
  | "weightDecay"
  | "beta1"
  | "beta2"
  | "eps"
  | "gradClipNorm"
>;

export interface UpdateOptions {
  readonly client: TrainingClient;
  readonly reference?: Reference | undefined;
  readonly config: UpdateConfig;
  /** Whether the sampler's arithmetic is not the trainer's. */
  readonly isSamplerQuantised: boolean;
  /** Valid trajectories only. */
  readonly groups: readonly TrajectoryGroup[];
  readonly state: AlgorithmState;
  readonly learningRate: number;
  /** For messages. */
  readonly step: number;
  readonly clock: () => number;
}

export interface UpdateResult {
  readonly state: AlgorithmState;
  /** Updates done; 0 when no group taught anything. */
  readonly updates: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly logprobsSeconds: number;
  readonly updateSeconds: number;
}

/** @throws UserError when a loss or gradient is not finite: before the update, the last checkpoint untouched */
export async function learn(options: UpdateOptions): Promise<UpdateResult> {
  const { client, config, groups, state, learningRate, clock } = options;
  const { sampling, settings, epochsPerBatch } = config;
  const started = clock();
  const sequences_P_G = await sequencesOf(options);
  const batch = policyBatch(sequences_P_G, {
    algorithm: ALGORITHMS[config.algorithm],
    settings,
    state,
    steps: Math.max(1, Math.min(config.updatesPerEpoch, groups.length)),
  });
  const prepared = clock();
  const { beta1, beta2, eps, weightDecay, gradClipNorm } = config;
  const adam = { learningRate, beta1, beta2, eps, weightDecay, gradClipNorm };
  const loss = { lossFnConfig: batch.lossFnConfig, temperature: sampling.temperature };
  const reports: Readonly<Record<string, number>>[] = [];
  let first: Readonly<Record<string, number>> = {};
  for (let epoch = 0; epoch < epochsPerBatch; epoch++) {
    for (const datums of batch.datums_steps) {
      if (datums.length === 0) continue;
      const output = await client.forwardBackward(datums, batch.lossFn, loss);
      checkFinite(options, output);
      if (reports.length === 0) first = samplerGap(datums, output);
      const { metrics } = await client.optimStep(adam).catch((thrown: unknown) => {
        if (!(thrown instanceof UserError)) throw thrown;
        throw new UserError(`Cannot do step ${options.step}: ${thrown.message}. ${REMEDY}`, {
          cause: thrown,
        });
      });
      const gradNorm = gradNormOf(metrics);
      reports.push({ ...output.metrics, ...(gradNorm === undefined ? {} : { gradNorm }) });
    }
  }
  return {
    state: batch.state,
    updates: reports.length,
    metrics: {
      ...first,
      ...pick(batch.metrics, (name) => name.startsWith("sampling/")),
      entropy: -meanSampledLogprob(sequences_P_G),
      ...mergedReports(reports),
    },
    logprobsSeconds: (prepared - started) / 1000,
    updateSeconds: (clock() - prepared) / 1000,
  };
}

const REMEDY = "The last checkpoint is untouched; resume from it, or start again with a lower learningRate";

/**
 * The trainer's own logprobs are computed where the sampler's cannot stand for them: it is quantised, it cut its
 * distribution off, or the algorithm weighs the gap between the two.
 */
export function needsTrainingLogprobs({
  config,
  isSamplerQuantised,
}: Pick<UpdateOptions, "config" | "isSamplerQuantised">): boolean {
  const { topP, topK, minP } = config.sampling;
  return (
    isSamplerQuantised || config.settings.importanceCorrection !== "off" || topP < 1 || topK > 0 || minP > 0
  );
}

async function sequencesOf(options: UpdateOptions): Promise<PolicySequence[][]> {
  const { client, reference, config, groups } = options;
  const { temperature } = config.sampling;
  const trajectories = groups.flatMap((group) => group.trajectories);
  const training = needsTrainingLogprobs(options)
    ? await trajectoryLogprobs(client, trajectories, { temperature })
    : undefined;
  const references =
    config.settings.beta === 0 || reference === undefined
      ? undefined
      : await trajectoryLogprobs(reference.client, trajectories, {
          temperature,
          withoutAdapter: reference.withoutAdapter,
        });
  let next = 0;
  return groups.map((group) =>
    group.trajectories.map((trajectory) => {
      const i = next++;
      return policySequence(trajectory, training?.[i], references?.[i]);
    }),
  );
}

function policySequence(
  trajectory: Trajectory,
  trainingLogprobs_T: readonly number[] | undefined,
  referenceLogprobs_T: readonly number[] | undefined,
): PolicySequence {
  const { tokens_T, logprobs_T, reward, isTruncated } = trajectory;
  return {
    tokens_T,
    sampled_T: sampledMask(trajectory),
    samplingLogprobs_T: logprobs_T,
    ...(trainingLogprobs_T === undefined ? {} : { trainingLogprobs_T }),
    ...(referenceLogprobs_T === undefined ? {} : { referenceLogprobs_T }),
    reward: reward.kind === "value" ? reward.value : null,
    ...(reward.kind === "value"
      ? {
          components: Object.fromEntries(
            reward.components.map(({ name, score, weight }) => [name, { score, weight }]),
          ),
        }
      : {}),
    isTruncated,
  };
}

/** How far the sampler is from the trainer, from the logprobs of the step's first pass: before anything has moved. */
function samplerGap(
  datums: readonly Datum[],
  { lossFnOutputs }: ForwardBackwardOutput,
): Record<string, number> {
  const gaps = zip(datums, lossFnOutputs, "datums and outputs").flatMap(([{ lossFnInputs }, outputs]) => {
    const trained_T = outputs["logprobs"]?.data;
    const sampled_T = lossFnInputs["logprobs"]?.data;
    const weights_T = lossFnInputs["weights"]?.data;
    if (trained_T === undefined || sampled_T === undefined || weights_T === undefined) return [];
    return weights_T.flatMap((weight, t) => (weight === 0 ? [] : [trained_T[t]! - sampled_T[t]!]));
  });
  if (gaps.length === 0) return {};
  const ratios = gaps.map((gap) => Math.exp(gap));
  const sizes = gaps.map((gap) => Math.abs(gap));
  return {
    "sampling/sampling_logp_difference/mean": mean(sizes),
    "sampling/sampling_logp_difference/max": largest(sizes),
    "sampling/importance_sampling_ratio/min": -largest(ratios.map((ratio) => -ratio)),
    "sampling/importance_sampling_ratio/mean": mean(ratios),
    "sampling/importance_sampling_ratio/max": largest(ratios),
  };
}

/** What clients report of a loss → the names users know. Several updates of a step become one number. */
const REPORTED: Readonly<
  Record<string, { readonly name: string; readonly merge: (values: number[]) => number }>
> = {
  "loss:sum": { name: "loss", merge: mean },
  "kl:mean": { name: "kl", merge: mean },
  "policy_kl:mean": { name: "policy_kl", merge: mean },
  "entropy:mean": { name: "entropy", merge: mean },
  "clip_ratio/low:mean": { name: "clip_ratio/low_mean", merge: mean },
  "clip_ratio/low:sequence_min": { name: "clip_ratio/low_min", merge: (values) => Math.min(...values) },
  "clip_ratio/high:mean": { name: "clip_ratio/high_mean", merge: mean },
  "clip_ratio/high:sequence_max": { name: "clip_ratio/high_max", merge: (values) => Math.max(...values) },
  "clip_ratio/region:mean": { name: "clip_ratio/region_mean", merge: mean },
  gradNorm: { name: "optimizer/grad_norm", merge: (values) => values.at(-1)! },
};

function mergedReports(reports: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const merged: Record<string, number> = {};
  for (const [reported, { name, merge }] of Object.entries(REPORTED)) {
    const values = reports.flatMap((report) => (report[reported] === undefined ? [] : [report[reported]]));
    if (values.length > 0) merged[name] = merge(values);
  }
  return merged;
}

function meanSampledLogprob(sequences_P_G: readonly (readonly PolicySequence[])[]): number {
  let sum = 0;
  let count = 0;
  for (const { sampled_T, samplingLogprobs_T } of sequences_P_G.flat()) {
    for (const [t, sampled] of sampled_T.entries()) {
      if (sampled === 0) continue;
      sum += samplingLogprobs_T[t]!;
      count++;
    }
  }
  return count === 0 ? 0 : sum / count;
}

function checkFinite({ step }: UpdateOptions, { metrics }: ForwardBackwardOutput): void {
  const loss = metrics["loss:sum"];
  if (loss === undefined || Number.isFinite(loss)) return;
  throw new UserError(
    `Cannot do step ${step}: the loss is ${loss}, expected a finite number. The weights were not updated. ${REMEDY}`,
  );
}

function pick(
  record: Readonly<Record<string, number>>,
  isWanted: (name: string) => boolean,
): Record<string, number> {
  return Object.fromEntries(Object.entries(record).filter(([name]) => isWanted(name)));
}

function largest(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
}
