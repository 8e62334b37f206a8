/**
 * Low-rank adapters (Hu et al., arXiv:2106.09685): y = x·Wᵀ + scaling · (x·Aᵀ)·Bᵀ with A [R, in] and B [out, R].
 * Rank-stabilised scaling (Kalajdzievski, arXiv:2312.03732) divides by √R instead of R.
 */
import { Random, UserError } from "../base/index.js";
import type { ModelConfig } from "./model-config.js";
import {
  layerName,
  type Parameter,
  PROJECTIONS,
  type Projection,
  parametersOf,
  projectionShape,
  scoreParameters,
} from "./parameters.js";

export interface LoraConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly rsLora: boolean;
  /** Projections that carry an adapter in every layer. */
  readonly targets: readonly Projection[];
}

/** Factor of the adapter's product. */
export function loraScaling({ rank, alpha, rsLora }: LoraConfig): number {
  return alpha / (rsLora ? Math.sqrt(rank) : rank);
}

/**
 * The projections meant by PEFT's `target_modules`: "all-linear", or names such as "q_proj" or "self_attn.q_proj".
 * @throws UserError for a name that no projection ends with
 */
export function resolveTargets(targets: string | readonly string[], source: string): Projection[] {
  if (targets === "all-linear") return [...PROJECTIONS];
  const names = typeof targets === "string" ? [targets] : targets;
  const matches = (projection: Projection, name: string): boolean =>
    projection === name || projection.endsWith(`.${name}`);
  const unknown = names.find((name) => !PROJECTIONS.some((projection) => matches(projection, name)));
  if (unknown !== undefined || names.length === 0) {
    const known = PROJECTIONS.map((projection) => projection.split(".")[1]).join(", ");
    throw new UserError(
      `Cannot place adapters of ${source}: target module ${unknown === undefined ? "list is empty" : `"${unknown}" is unknown`}, expected "all-linear" or some of ${known}`,
    );
  }
  return PROJECTIONS.filter((projection) => names.some((name) => matches(projection, name)));
}

export function loraNames(layer: number, projection: Projection): { readonly a: string; readonly b: string } {
  return {
    a: layerName(layer, `${projection}.lora_A.weight`),
    b: layerName(layer, `${projection}.lora_B.weight`),
  };
}

/** The trainable parameters of an adapter, A before B, layer by layer. */
export function loraParameters(config: ModelConfig, { rank, targets }: LoraConfig): Parameter[] {
  return Array.from({ length: config.layers }, (_, layer) =>
    targets.flatMap((projection): Parameter[] => {
      const [out, into] = projectionShape(config, projection);
      const { a, b } = loraNames(layer, projection);
      return [
        { name: a, shape: [rank, into], role: "projection" },
        { name: b, shape: [out, rank], role: "projection" },
      ];
    }),
  ).flat();
}

/** What is trained beside an adapter's frozen base: its matrices, and a reward model's head in full. Without one, everything. */
export function trainableParameters(config: ModelConfig, lora: LoraConfig | null): Parameter[] {
  return lora === null ? parametersOf(config) : [...loraParameters(config, lora), ...scoreParameters(config)];
}

/** The rest of the model. */
export function frozenParameters(config: ModelConfig, lora: LoraConfig | null): Parameter[] {
  const scores = new Set(scoreParameters(config).map(({ name }) => name));
  return lora === null ? [] : parametersOf(config).filter(({ name }) => !scores.has(name));
}

/** Fills one fresh adapter matrix: A uniform in ±1/√in (PEFT's Kaiming initialisation), B zero, so that the model is unchanged. */
export function initialiseLora({ name, shape }: Parameter, values: Float32Array, seed: number): void {
  if (name.endsWith("lora_B.weight")) {
    values.fill(0);
    return;
  }
  const bound = 1 / Math.sqrt(shape[1]!);
  const random = new Random(seed).fork(name);
  for (let i = 0; i < values.length; i++) values[i] = bound * (2 * random.uniform() - 1);
}
