/** What all policy-gradient algorithms can be told. Names are TRL's in camelCase; each algorithm has its own defaults. */
import { z } from "zod";

export const PolicySettings = z.strictObject({
  scaleRewards: z
    .enum(["group", "batch", "none"])
    .describe("Standard deviation that centred rewards are divided by: the group's, the batch's or none"),
  multiObjectiveAggregation: z
    .enum(["sum_then_normalize", "normalize_then_sum"])
    .describe("Whether rewards of several components are added before they are normalised, or after"),
  normalizeAdvantages: z.boolean().describe("RLOO: advantages are centred and scaled over the batch"),
  baselineDecay: z
    .number()
    .min(0)
    .lt(1)
    .describe("REINFORCE: how much of the running baseline is kept at each step"),
  aggregation: z
    .enum(["sequence_mean", "token_mean", "batch_token_mean", "constant_length"])
    .describe("What a token's loss is divided by, see aggregation.ts"),
  maxCompletionLength: z.int().positive().describe("The length that constant_length divides by"),
  epsilon: z
    .number()
    .nonnegative()
    .nullable()
    .describe("The ratio is clipped below 1 - epsilon; null clips nowhere"),
  epsilonHigh: z
    .number()
    .nonnegative()
    .nullable()
    .describe("… and above 1 + epsilonHigh, which is epsilon when null. CISPO: the largest ratio itself"),
  delta: z
    .number()
    .positive()
    .nullable()
    .describe("Upper bound of the ratio where the advantage is negative (two-sided clipping); null for none"),
  beta: z.number().nonnegative().describe("Coefficient of the KL divergence to the reference policy"),
  klPlacement: z
    .enum(["loss", "reward"])
    .describe("Whether the KL is a term of the loss or taken off the reward"),
  klEstimator: z.enum(["k1", "k2", "k3"]).describe("Estimator of the KL in the loss"),
  useBiasCorrectionKl: z.boolean().describe("Multiplies the KL's estimate by the ratio"),
  entropyCoef: z
    .number()
    .nonnegative()
    .describe("Coefficient of the mean entropy of a token, which is added"),
  importanceCorrection: z
    .enum(["off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
    .describe("How the ratio of trainer to sampler at rollout time weighs the loss"),
  importanceMax: z.number().positive().nullable().describe("Upper bound of that ratio"),
  importanceMin: z.number().nonnegative().nullable().describe("Lower bound of that ratio"),
  maskTruncatedCompletions: z.boolean().describe("Leaves completions out that ran into the token limit"),
});
export type PolicySettings = z.infer<typeof PolicySettings>;

/** GRPO as TRL 1.13 configures it, save for what names a loss; what an algorithm does not say is as here. */
export const DEFAULT_SETTINGS: PolicySettings = {
  scaleRewards: "group",
  multiObjectiveAggregation: "sum_then_normalize",
  normalizeAdvantages: false,
  baselineDecay: 0.9,
  aggregation: "sequence_mean",
  maxCompletionLength: 512,
  epsilon: 0.2,
  epsilonHigh: null,
  delta: null,
  beta: 0,
  klPlacement: "loss",
  klEstimator: "k3",
  useBiasCorrectionKl: true,
  entropyCoef: 0,
  importanceCorrection: "off",
  importanceMax: 3,
  importanceMin: null,
  maskTruncatedCompletions: false,
};
