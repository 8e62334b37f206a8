/** What the preference losses are told, in TRL's words, as the loss and the numbers that an engine takes. */
import { z } from "zod";
import type { LossFnConfig, LossFnName } from "../protocol/index.js";
import type { PairDatumOptions } from "./pair-datums.js";

export const DpoLossType = z.enum([
  "sigmoid",
  "hinge",
  "ipo",
  "robust",
  "sigmoid_norm",
  "exo_pair",
  "nca_pair",
  "bco_pair",
  "sppo_hard",
  "apo_zero",
  "apo_down",
  "sft",
]);
export type DpoLossType = z.infer<typeof DpoLossType>;

/** A loss with its config, and what `pairDatums` must give it. */
export interface PreferenceLoss {
  readonly lossFn: LossFnName;
  readonly lossFnConfig: LossFnConfig;
  readonly nll: NonNullable<PairDatumOptions["nll"]> | null;
  readonly needsReference: boolean;
}

const noise = z.number().min(0).lt(0.5).default(0);
const positive = z.number().positive();

export const DpoSettings = z
  .strictObject({
    lossType: z.array(DpoLossType).min(1).default(["sigmoid"]).describe("DPO loss types, which are added"),
    lossWeights: z.array(z.number()).optional().describe("Weight of each loss type; 1 each when left out"),
    beta: positive.default(0.1).describe("Scale of the implied reward; for ipo its regularisation τ"),
    labelSmoothing: noise.describe("Probability that a label is flipped"),
  })
  .refine(
    ({ lossType, lossWeights }) => lossWeights === undefined || lossWeights.length === lossType.length,
    {
      message: "lossWeights and lossType differ in length, expected one weight per type",
    },
  )
  .refine(({ lossType }) => new Set(lossType).size === lossType.length, {
    message: "lossType names a type twice, expected each once",
  });

export const CpoSettings = z.strictObject({
  lossType: z.enum(["sigmoid", "hinge", "ipo", "simpo"]).default("sigmoid").describe("CPO loss type"),
  beta: positive.default(0.1).describe("Scale of the difference of logprobs"),
  labelSmoothing: noise.describe("Probability that a label is flipped"),
  cpoAlpha: z
    .number()
    .nonnegative()
    .default(1)
    .describe("Weight of supervised training on the chosen answer"),
  simpoGamma: z
    .number()
    .default(0.5)
    .describe("SimPO: margin that the reward of the chosen answer should have"),
});

export const OrpoSettings = z.strictObject({
  beta: positive.default(0.1).describe("Weight of the log odds ratio; the paper's λ"),
});

export const KtoSettings = z.strictObject({
  lossType: z
    .enum(["kto", "apo_zero_unpaired"])
    .default("kto")
    .describe("Whether the KL is taken off the rewards"),
  beta: positive.default(0.1).describe("Scale of the implied reward"),
  desirableWeight: z.number().nonnegative().default(1).describe("Weight of desirable answers"),
  undesirableWeight: z.number().nonnegative().default(1).describe("Weight of undesirable answers"),
});

export const RewardSettings = z.strictObject({
  centerRewardsCoefficient: z
    .number()
    .nonnegative()
    .nullable()
    .default(null)
    .describe("Weight of (r_chosen + r_rejected)², which keeps rewards around 0; null for none"),
});

export function dpoLoss(settings: z.input<typeof DpoSettings> = {}): PreferenceLoss {
  const { lossType, lossWeights, beta, labelSmoothing } = DpoSettings.parse(settings);
  const types = lossType.map((type, i) => [type, lossWeights?.[i] ?? 1] as const);
  return {
    lossFn: "dpo",
    lossFnConfig: { sigmoid: 0, ...Object.fromEntries(types), beta, label_smoothing: labelSmoothing },
    nll: lossType.includes("sft") ? "answer" : null,
    needsReference: true,
  };
}

/** CPO, and SimPO where the loss type says so: TRL's default `cpoAlpha` is 1 for both, SimPO's paper has 0. */
export function cpoLoss(settings: z.input<typeof CpoSettings> = {}): PreferenceLoss {
  const { lossType, beta, labelSmoothing, cpoAlpha, simpoGamma } = CpoSettings.parse(settings);
  const shared = { beta, label_smoothing: labelSmoothing, cpo_alpha: cpoAlpha };
  return {
    lossFn: lossType === "simpo" ? "simpo" : "cpo",
    lossFnConfig:
      lossType === "simpo"
        ? { ...shared, simpo_gamma: simpoGamma }
        : { ...shared, sigmoid: 0, [lossType]: 1 },
    nll: cpoAlpha === 0 ? null : "answer",
    needsReference: false,
  };
}

export function orpoLoss(settings: z.input<typeof OrpoSettings> = {}): PreferenceLoss {
  const { beta } = OrpoSettings.parse(settings);
  return { lossFn: "orpo", lossFnConfig: { beta }, nll: "sequence", needsReference: false };
}

/** `needsKl`: the datums must carry an estimate of the KL. */
export function ktoLoss(
  settings: z.input<typeof KtoSettings> = {},
): PreferenceLoss & { readonly needsKl: boolean } {
  const { lossType, beta, desirableWeight, undesirableWeight } = KtoSettings.parse(settings);
  return {
    lossFn: "kto",
    lossFnConfig: { beta, desirable_weight: desirableWeight, undesirable_weight: undesirableWeight },
    nll: null,
    needsReference: true,
    needsKl: lossType === "kto",
  };
}

export function rewardLoss(settings: z.input<typeof RewardSettings> = {}): PreferenceLoss {
  const { centerRewardsCoefficient } = RewardSettings.parse(settings);
  return {
    lossFn: "bradley_terry",
    lossFnConfig: { center_rewards_coefficient: centerRewardsCoefficient ?? 0 },
    nll: null,
    needsReference: false,
  };
}
