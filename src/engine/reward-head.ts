/** Which head an engine's model has: the one its folder or adapter brings, or a fresh one for a model that predicts tokens. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/index.js";
import { initialiseParameter, type ModelConfig, SCORE } from "../nn/index.js";
import { openSafetensors } from "../tensor/index.js";
import { ADAPTER_PREFIX, ADAPTER_TENSORS } from "./adapter-files.js";
import type { EngineOptions } from "./options.js";
import type { WeightSource } from "./weight-source.js";

/** @throws UserError when a head is missing that should be stored, or is stored and asked for fresh */
export function withHead(
  source: WeightSource,
  { rewardHead, adapter, seed = 0 }: Pick<EngineOptions, "rewardHead" | "adapter" | "seed">,
): WeightSource {
  const inModel = source.config.head === "score";
  const inAdapter = adapter !== undefined && hasScore(adapter);
  const refuse = (what: string): UserError => {
    source.close();
    return new UserError(`Cannot create engine with rewardHead "${rewardHead}": ${what}`);
  };
  if (rewardHead === "stored" && !inModel && !inAdapter)
    throw refuse(
      `${adapter === undefined ? "the model has no" : "neither the model nor its adapter has a"} "${SCORE}", expected a reward model. Take "fresh" to train one from this model`,
    );
  if (rewardHead === "fresh" && (inModel || inAdapter))
    throw refuse(
      `the ${inModel ? "model" : "adapter"} has a "${SCORE}" already, which a fresh head would replace. Take "stored" to go on with it`,
    );
  if (inModel || (rewardHead === undefined && !inAdapter)) return source;
  return withScore(source, seed);
}

/** @throws UserError when the model has the other head */
export function expectHead({ head }: ModelConfig, wanted: ModelConfig["head"], action: string): void {
  if (head === wanted) return;
  throw new UserError(
    wanted === "score"
      ? `Cannot ${action}: the model predicts tokens and has no reward head, expected a reward model. Create the engine with rewardHead "stored" or "fresh"`
      : `Cannot ${action}: the model is a reward model, which predicts no tokens, expected one that does`,
  );
}

function hasScore(adapter: string): boolean {
  const path = join(adapter, ADAPTER_TENSORS);
  if (!existsSync(path)) return false; // readAdapter says what is wrong with it
  const file = openSafetensors(path);
  try {
    return file.tensors.has(`${ADAPTER_PREFIX}${SCORE}`);
  } finally {
    file.close();
  }
}

/** The same trunk with a score in place of the vocabulary projection. */
function withScore(source: WeightSource, seed: number): WeightSource {
  const config: ModelConfig = { ...source.config, head: "score" };
  const { architectures, ...json } = source.json;
  const name = Array.isArray(architectures) ? String(architectures[0]) : architectureOf(config);
  return {
    ...source,
    config,
    json: {
      ...json,
      architectures: [name.replace(/For\w+$/, "ForSequenceClassification")],
      id2label: { "0": "LABEL_0" },
      label2id: { LABEL_0: 0 },
    },
    fill: (parameter, target) =>
      parameter.name === SCORE
        ? initialiseParameter(config, parameter, target, seed)
        : source.fill(parameter, target),
    isBfloat16: (parameter) => parameter.name !== SCORE && source.isBfloat16(parameter),
  };
}

function architectureOf({ family }: ModelConfig): string {
  return `${family[0]!.toUpperCase()}${family.slice(1)}ForCausalLM`;
}
