/** The methods that learn from pairs, by the names of their commands: schema, loss, and what stands in for TRL's trainer. */
import type { z } from "zod";
import { cpoLoss, dpoLoss, orpoLoss, type PreferenceLoss, rewardLoss } from "../../algorithms/index.js";
import {
  CpoConfig,
  DpoConfig,
  OrpoConfig,
  type PreferenceConfig,
  RewardConfig,
  SimpoConfig,
} from "./preference-config.js";

export interface PreferenceMethod {
  readonly schema: z.ZodType<PreferenceConfig>;
  /** Of a resolved configuration of this method. @throws UserError when its settings contradict each other */
  readonly loss: (config: PreferenceConfig) => PreferenceLoss;
}

export const PREFERENCE_METHODS = {
  dpo: {
    schema: DpoConfig,
    loss: (config) => {
      const { lossType, lossWeights, beta, labelSmoothing } = DpoConfig.parse(config);
      return dpoLoss({ lossType: [lossType].flat(), lossWeights, beta, labelSmoothing });
    },
  },
  orpo: { schema: OrpoConfig, loss: (config) => orpoLoss({ beta: OrpoConfig.parse(config).beta }) },
  cpo: {
    schema: CpoConfig,
    loss: (config) => {
      const { lossType, beta, labelSmoothing, cpoAlpha, simpoGamma } = CpoConfig.parse(config);
      return cpoLoss({ lossType, beta, labelSmoothing, cpoAlpha, simpoGamma });
    },
  },
  simpo: {
    schema: SimpoConfig,
    loss: (config) => {
      const { beta, labelSmoothing, cpoAlpha, simpoGamma } = SimpoConfig.parse(config);
      return cpoLoss({ lossType: "simpo", beta, labelSmoothing, cpoAlpha, simpoGamma });
    },
  },
  reward: {
    schema: RewardConfig,
    loss: (config) =>
      rewardLoss({ centerRewardsCoefficient: RewardConfig.parse(config).centerRewardsCoefficient }),
  },
} as const satisfies Readonly<Record<string, PreferenceMethod>>;

export type PreferenceMethodName = keyof typeof PREFERENCE_METHODS;
