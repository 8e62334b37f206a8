/** A model's weights in memory: frozen ones read-only, trainable ones in the optimizer's arena. One copy for any number of sessions. */
import { UserError } from "../base/index.js";
import {
  createParameterArena,
  frozenParameters,
  initialiseLora,
  type Parameter,
  type ParameterArena,
  SCORE,
  trainableParameters,
} from "../nn/index.js";
import { type HostTensor, hostTensor, type QuantisedMatrix, sizeOf } from "../tensor/index.js";
import { allocate } from "./executable.js";
import type { ModelSpec } from "./training-graph.js";
import type { WeightSource } from "./weight-source.js";

export interface Weights {
  /** Every tensor a graph of the model may ask for, by input name. */
  readonly tensors: Readonly<Record<string, HostTensor>>;
  readonly trainable: readonly Parameter[];
  readonly arena: ParameterArena;
  /** The trainable parameter's arrays, by name. */
  readonly slot: (name: string) => ParameterSlot;
}

export interface ParameterSlot {
  readonly parameter: Float32Array<ArrayBuffer>;
  readonly gradient: Float32Array<ArrayBuffer>;
  readonly firstMoment: Float32Array<ArrayBuffer>;
  readonly secondMoment: Float32Array<ArrayBuffer>;
}

/** Reads all weights. Fresh adapters come from `seed`; `adapter` overrides them. */
export function loadWeights(
  spec: ModelSpec,
  source: WeightSource,
  { seed, adapter }: { readonly seed: number; readonly adapter: ReadonlyMap<string, Float32Array> | null },
): Weights {
  const { config, lora } = spec;
  const trainable = trainableParameters(config, lora);
  const arena = createParameterArena(trainable.map(({ shape }) => sizeOf(shape)));
  const slots = new Map(
    trainable.map(({ name }, i): [string, ParameterSlot] => [
      name,
      {
        parameter: arena.parameters[i]!,
        gradient: arena.gradients[i]!,
        firstMoment: arena.firstMoments[i]!,
        secondMoment: arena.secondMoments[i]!,
      },
    ]),
  );
  const tensors: Record<string, HostTensor> = {};
  for (const parameter of trainable) {
    const { name, shape } = parameter;
    const values = slots.get(name)!.parameter;
    tensors[name] = hostTensor("float32", shape, values);
    const stored = adapter?.get(name);
    if (stored !== undefined) values.set(stored);
    else if (lora === null || name === SCORE) source.fill(parameter, values);
    else initialiseLora(parameter, values, seed);
  }
  Object.assign(tensors, frozenTensors(spec, source, frozenParameters(config, lora)));
  return {
    tensors,
    trainable,
    arena,
    slot: (name) => {
      const slot = slots.get(name);
      if (slot === undefined)
        throw new UserError(
          `Cannot find trainable parameter "${name}", expected one of the model's ${slots.size}`,
        );
      return slot;
    },
  };
}

/** Weights that nothing will change, each in the form in which the spec has graphs read it. */
export function frozenTensors(
  { quantised, bfloat16 }: ModelSpec,
  source: WeightSource,
  parameters: readonly Parameter[],
): Record<string, HostTensor> {
  const tensors: Record<string, HostTensor> = {};
  for (const parameter of parameters) {
    if (quantised !== null && parameter.role === "projection") {
      Object.assign(tensors, quantisedTensors(parameter.name, source.quantise(parameter, quantised)));
    } else if (bfloat16.has(parameter.name)) {
      tensors[parameter.name] = hostTensor("uint16", parameter.shape, source.bfloat16(parameter));
    } else {
      const tensor = allocate("float32", parameter.shape);
      source.fill(parameter, tensor.data);
      tensors[parameter.name] = tensor;
    }
  }
  return tensors;
}

function quantisedTensors(
  name: string,
  { rows, columns, block, packed, scales, zeros }: QuantisedMatrix,
): Record<string, HostTensor> {
  const blocks = [rows, columns / block];
  return {
    [`${name}.packed`]: hostTensor("uint8", [rows, columns / 2], packed),
    [`${name}.scales`]: hostTensor("float32", blocks, scales),
    ...(zeros === undefined ? {} : { [`${name}.zeros`]: hostTensor("uint8", blocks, zeros) }),
  };
}
