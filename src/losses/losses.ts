/** Every loss by its name in the protocol. */
import type { LossFnName } from "../protocol/index.js";
import { bradleyTerry } from "./bradley-terry.js";
import { cispo } from "./cispo.js";
import { cpo } from "./cpo.js";
import { crossEntropy } from "./cross-entropy.js";
import { dpo } from "./dpo.js";
import { dro } from "./dro.js";
import { grpo } from "./grpo.js";
import { gspo } from "./gspo.js";
import { importanceSampling } from "./importance-sampling.js";
import { kto } from "./kto.js";
import type { Loss } from "./loss.js";
import { orpo } from "./orpo.js";
import { ppo } from "./ppo.js";
import { rloo } from "./rloo.js";
import { simpo } from "./simpo.js";
import { weightedCispo } from "./weighted-cispo.js";

export const LOSSES: Readonly<Record<LossFnName, Loss>> = {
  cross_entropy: crossEntropy,
  importance_sampling: importanceSampling,
  ppo,
  cispo,
  dro,
  grpo,
  gspo,
  rloo,
  weighted_cispo: weightedCispo,
  dpo,
  cpo,
  simpo,
  orpo,
  kto,
  bradley_terry: bradleyTerry,
};
