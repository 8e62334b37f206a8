/** Options → what the model is made of; refuses combinations that make no sense, naming both and the way out. */
import { UserError } from "../base/index.js";
import type { Lowering } from "../graph/index.js";
import { type LoraConfig, parametersOf, projectionShape, resolveTargets, SCORE } from "../nn/index.js";
import { type Adapter, readAdapter } from "./adapter-files.js";
import type { EngineOptions } from "./options.js";
import type { ModelSpec } from "./training-graph.js";
import type { WeightSource } from "./weight-source.js";

export interface ResolvedSpec {
  readonly spec: ModelSpec;
  /** The adapter to start from, if a folder was given. */
  readonly adapter: Adapter | null;
}

/** @param lowering of the runtime that will run the model: only our own kernels read bf16 weights as they are */
export function resolveSpec(
  options: EngineOptions,
  source: WeightSource,
  lowering: Lowering = "cpu",
): ResolvedSpec {
  const { config } = source;
  for (const key of ["microBatchTokens", "threads"] as const) {
    const value = options[key] ?? 1;
    if (!Number.isInteger(value) || value < 1)
      throw new UserError(`Cannot create engine with ${key} ${value}: expected a positive integer`);
  }
  if (options.lora !== undefined && options.adapter !== undefined) {
    throw new UserError(
      "Cannot create engine with both lora and adapter: an adapter folder brings its own rank, alpha and targets. Leave one out",
    );
  }
  const adapter = options.adapter === undefined ? null : readAdapter(options.adapter, config);
  const lora = adapter?.lora ?? (options.lora === undefined ? null : freshLora(options.lora));
  if (options.quantise !== undefined && lora === null) {
    throw new UserError(
      "Cannot create engine with quantise but neither lora nor adapter: 4-bit weights are frozen, so nothing would be trained. Add lora",
    );
  }
  const frozen = frozenSpec(options, source, lowering);
  return { spec: lora === null ? { ...frozen, lora, bfloat16: new Set() } : { ...frozen, lora }, adapter };
}

/** The model without an adapter and with every weight frozen: in 4 bits where asked for, in bf16 where stored so. */
export function frozenSpec(
  { quantise }: Pick<EngineOptions, "quantise">,
  source: WeightSource,
  lowering: Lowering,
): ModelSpec {
  const { config } = source;
  const { block = 32, symmetric = true } = quantise ?? {};
  const quantised = quantise === undefined ? null : { block, zeroPoints: !symmetric };
  if (quantised !== null) {
    for (const projection of [
      "self_attn.q_proj",
      "self_attn.o_proj",
      "mlp.gate_proj",
      "mlp.down_proj",
    ] as const) {
      const width = projectionShape(config, projection)[1];
      if (width % block !== 0) {
        throw new UserError(
          `Cannot quantise ${projection}: its width ${width} is no multiple of block ${block}. Choose block 32, or a model with wider layers`,
        );
      }
    }
  }
  const matrices = parametersOf(config).filter(
    // A reward head is one row, and trained.
    ({ name, shape, role }) =>
      shape.length === 2 && name !== SCORE && !(quantised !== null && role === "projection"),
  );
  const bfloat16 = new Set(
    matrices
      .filter((parameter) => lowering === "native" && source.isBfloat16(parameter))
      .map(({ name }) => name),
  );
  return { config, lora: null, quantised, bfloat16 };
}

/** Whether sessions may take twice the activations' memory to be a few percent faster: not where memory is the worry. */
export function plansMemory({ lora }: ModelSpec, { gradientCheckpointing }: EngineOptions): boolean {
  return lora === null && gradientCheckpointing !== true;
}

function freshLora({
  rank,
  alpha,
  rsLora = false,
  targets = "all-linear",
}: NonNullable<EngineOptions["lora"]>): LoraConfig {
  if (!Number.isInteger(rank) || rank < 1)
    throw new UserError(`Cannot create adapter of rank ${rank}: expected a positive integer`);
  if (!(alpha > 0 && Number.isFinite(alpha)))
    throw new UserError(`Cannot create adapter with alpha ${alpha}: expected a positive number`);
  return { rank, alpha, rsLora, targets: resolveTargets(targets, "the lora option") };
}
