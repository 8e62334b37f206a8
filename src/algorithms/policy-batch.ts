/**
 * A batch of rollouts → datums that an engine trains on, with the loss and its config. Pure: everything that an
 * algorithm is, apart from sampling and running the engine.
 *
 * Old logprobs are fixed here, once: several epochs over the same datums (`num_iterations`) keep them, so the ratio
 * grows away from 1 as the policy moves.
 */
import { UserError } from "../base/index.js";
import { type Datum, type LossFnConfig, type LossFnName, modelInputFromTokens } from "../protocol/index.js";
import { tokenWeights } from "./aggregation.js";
import { type Algorithm, type AlgorithmState, UNBOUNDED } from "./algorithm.js";
import { multiObjectiveAdvantages } from "./group-advantages.js";
import { importanceWeights } from "./importance-correction.js";
import { policyMetrics } from "./policy-metrics.js";
import { checkSequence, type PolicySequence } from "./policy-sequence.js";
import type { PolicySettings } from "./settings.js";

export interface PolicyBatchOptions {
  readonly algorithm: Algorithm;
  readonly settings: PolicySettings;
  /** What the algorithm returned for the batch before; {} at first. */
  readonly state?: AlgorithmState;
  /** Optimizer steps that one pass over the batch takes. Groups stay whole and in order. @default 1 */
  readonly steps?: number;
  /** Leaves out datums that cannot have a gradient: advantage 0, and no KL or entropy in the loss. @default true */
  readonly dropsIdle?: boolean;
}

export interface PolicyBatch {
  /** The datums of each optimizer step. A step may be empty when no group has spread: there is nothing to learn then. */
  readonly datums_steps: readonly (readonly Datum[])[];
  readonly lossFn: LossFnName;
  readonly lossFnConfig: LossFnConfig;
  readonly state: AlgorithmState;
  /** As `groups_P_G`, null where the reward is invalid. */
  readonly advantages_P_G: readonly (readonly (number | null)[])[];
  /** By TRL's names. */
  readonly metrics: Readonly<Record<string, number>>;
}

interface Member {
  readonly sequence: PolicySequence;
  /** Of the trainer at rollout time. */
  readonly oldLogprobs_T: readonly number[];
  readonly importance_T: readonly number[];
  readonly ratios: readonly number[];
  /** Tokens in the loss: those sampled, none of a masked completion. */
  readonly trained_T: readonly number[];
  readonly count: number;
  readonly reward: number;
}

/** @throws UserError when a sequence lacks what the settings need */
export function policyBatch(
  groups_P_G: readonly (readonly PolicySequence[])[],
  { algorithm, settings, state = {}, steps = 1, dropsIdle = true }: PolicyBatchOptions,
): PolicyBatch {
  if (!(Number.isInteger(steps) && steps >= 1 && steps <= Math.max(1, groups_P_G.length))) {
    throw new UserError(
      `Cannot split ${groups_P_G.length} groups into ${steps} optimizer steps: expected a whole number of at least 1 and no more than groups`,
    );
  }
  const members_P_G = groups_P_G.map((group, p) =>
    group.flatMap((sequence, i) => {
      checkSequence(sequence, `group ${p}, completion ${i}`);
      return sequence.reward === null ? [] : [readMember(sequence, settings, `group ${p}, completion ${i}`)];
    }),
  );
  const { advantages_P_G, state: nextState } = advantagesOf(members_P_G, algorithm, settings, state);
  const batchTokens = members_P_G.flat().reduce((total, { count }) => total + count, 0);
  const dropsFlat = dropsIdle && settings.entropyCoef === 0 && !hasKlInLoss(settings);
  const datums_steps = Array.from({ length: steps }, (_, step) => {
    const groups = groupsOfStep(groups_P_G.length, steps, step);
    const members = groups.flatMap((p) => members_P_G[p]!);
    const advantages = groups.flatMap((p) => advantages_P_G[p]!);
    const counts_B = members.map(({ count }) => count);
    const weights_B = tokenWeights({ counts_B, batchTokens, steps }, settings);
    const tokens = counts_B.reduce((a, b) => a + b, 0);
    return members.flatMap((member, i) => {
      const isFlat = member.trained_T.every(
        (trained, t) => trained * advantages[i]! * member.importance_T[t]! === 0,
      );
      if (member.count === 0 || (isFlat && dropsFlat)) return [];
      return [policyDatum(member, { advantage: advantages[i]!, weight: weights_B[i]!, tokens }, settings)];
    });
  });
  const pending_P = advantages_P_G.map((advantages_G) => [...advantages_G]);
  return {
    datums_steps,
    lossFn: algorithm.lossFn,
    lossFnConfig: lossFnConfigOf(algorithm, settings),
    state: nextState,
    advantages_P_G: groups_P_G.map((group, p) =>
      group.map(({ reward }) => (reward === null ? null : pending_P[p]!.shift()!)),
    ),
    metrics: policyMetrics(groups_P_G, members_P_G.flat()),
  };
}

/** What the algorithm's loss is told. */
export function lossFnConfigOf(algorithm: Algorithm, settings: PolicySettings): LossFnConfig {
  const [low, high] = (algorithm.clipBounds ?? clipBounds)(settings);
  return {
    clip_low_threshold: low,
    clip_high_threshold: high,
    delta: settings.delta ?? 0,
    kl_coef: hasKlInLoss(settings) ? settings.beta : 0,
    kl_estimator: { k1: 1, k2: 2, k3: 3 }[settings.klEstimator],
    kl_bias_correction: Number(settings.useBiasCorrectionKl),
    entropy_coef: settings.entropyCoef,
  };
}

function clipBounds({ epsilon, epsilonHigh }: PolicySettings): readonly [number, number] {
  const high = epsilonHigh ?? epsilon;
  return [epsilon === null ? 0 : 1 - epsilon, high === null ? UNBOUNDED : 1 + high];
}

function hasKlInLoss({ beta, klPlacement }: PolicySettings): boolean {
  return beta !== 0 && klPlacement === "loss";
}

/** Consecutive groups, as evenly as can be. */
function groupsOfStep(groups: number, steps: number, step: number): number[] {
  const [from, to] = [step, step + 1].map((i) => Math.round((i * groups) / steps)) as [number, number];
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function readMember(sequence: PolicySequence, settings: PolicySettings, where: string): Member {
  const { samplingLogprobs_T, trainingLogprobs_T, referenceLogprobs_T, sampled_T } = sequence;
  const missing = (what: string, why: string): UserError =>
    new UserError(`Cannot build policy datum of ${where}: it has no ${what}, expected them because ${why}`);
  if (settings.importanceCorrection !== "off" && trainingLogprobs_T === undefined)
    throw missing("trainingLogprobs_T", `importanceCorrection is "${settings.importanceCorrection}"`);
  if (settings.beta !== 0 && referenceLogprobs_T === undefined)
    throw missing("referenceLogprobs_T", `beta is ${settings.beta}`);
  const oldLogprobs_T = trainingLogprobs_T ?? samplingLogprobs_T;
  const { weights_T, ratios } = importanceWeights(
    { trainingLogprobs_T: oldLogprobs_T, samplingLogprobs_T, sampled_T },
    settings,
  );
  const isMasked = settings.maskTruncatedCompletions && sequence.isTruncated === true;
  const trained_T = isMasked ? sampled_T.map(() => 0) : sampled_T;
  const penalty =
    settings.klPlacement === "loss" || settings.beta === 0
      ? 0
      : settings.beta *
        trained_T.reduce(
          (total, trained, t) => total + (trained === 0 ? 0 : oldLogprobs_T[t]! - referenceLogprobs_T![t]!),
          0,
        );
  return {
    sequence,
    oldLogprobs_T,
    importance_T: weights_T,
    ratios,
    trained_T,
    count: trained_T.reduce((a, b) => a + b, 0),
    reward: sequence.reward! - penalty,
  };
}

function advantagesOf(
  members_P_G: readonly (readonly Member[])[],
  algorithm: Algorithm,
  settings: PolicySettings,
  state: AlgorithmState,
) {
  if (settings.multiObjectiveAggregation === "sum_then_normalize") {
    const rewards_P_G = members_P_G.map((members) => members.map(({ reward }) => reward));
    return algorithm.advantages(rewards_P_G, settings, state);
  }
  const names = Object.keys(members_P_G.flat()[0]?.sequence.components ?? {});
  const components_P_G_K = members_P_G.map((members) =>
    members.map(({ sequence: { components } }) =>
      names.map((name) => {
        const component = components?.[name];
        if (component === undefined || Object.keys(components!).length !== names.length)
          throw new UserError(
            `Cannot normalise rewards by component: one completion has ${Object.keys(components ?? {}).join(", ") || "no components"}, expected ${names.join(", ")}`,
          );
        return component;
      }),
    ),
  );
  // A discounted completion has smaller weights than the others: what it earns is its score's share of the full weight.
  const weights_K = names.map((_, k) =>
    components_P_G_K
      .flat()
      .map((components_K) => components_K[k]!.weight)
      .reduce((largest, weight) => (Math.abs(weight) > Math.abs(largest) ? weight : largest), 0),
  );
  const rewards_P_G_K = components_P_G_K.map((components_G_K) =>
    components_G_K.map((components_K) =>
      components_K.map(({ score, weight }, k) =>
        weights_K[k] === 0 ? score : (score * weight) / weights_K[k]!,
      ),
    ),
  );
  if (names.length === 0 && members_P_G.flat().length > 0)
    throw new UserError(
      'Cannot normalise rewards by component: completions have no components, expected some. Set multiObjectiveAggregation to "sum_then_normalize"',
    );
  return {
    advantages_P_G: multiObjectiveAdvantages(rewards_P_G_K, weights_K),
    state,
  };
}

/** Shifted as the protocol wants it: position i is about token i + 1. */
function policyDatum(
  { sequence, oldLogprobs_T, importance_T, trained_T }: Member,
  {
    advantage,
    weight,
    tokens,
  }: { readonly advantage: number; readonly weight: number; readonly tokens: number },
  settings: PolicySettings,
): Datum {
  const { tokens_T, referenceLogprobs_T } = sequence;
  const perToken = (value: (t: number) => number) => ({
    data: trained_T.slice(1).map((trained, i) => (trained === 0 ? 0 : value(i + 1))),
    dtype: "float32" as const,
  });
  return {
    modelInput: modelInputFromTokens(tokens_T.slice(0, -1)),
    lossFnInputs: {
      target_tokens: { data: tokens_T.slice(1), dtype: "int64" },
      logprobs: perToken((t) => oldLogprobs_T[t]!),
      // Every surrogate is a multiple of the advantage, so the importance weight, which is never negative, goes here.
      advantages: perToken((t) => advantage * importance_T[t]!),
      weights: perToken(() => weight),
      ...(hasKlInLoss(settings) ? { reference_logprobs: perToken((t) => referenceLogprobs_T![t]!) } : {}),
      ...(settings.entropyCoef === 0 ? {} : { entropy_weights: perToken(() => 1 / tokens) }),
    },
  };
}
