/** Where a model's numbers come from: a Hugging Face folder, a GGUF file, or a seed. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../base/index.js";
import {
  initialiseParameter,
  type ModelConfig,
  type Parameter,
  parametersOf,
  parseModelConfig,
  readGgufModel,
} from "../nn/index.js";
import {
  bfloat16FromFloat32Into,
  createQuantisedMatrix,
  float32FromBfloat16Into,
  openSafetensors,
  type QuantisedMatrix,
  quantiseFromFile,
  quantiseRowsInto,
  type SafetensorsFile,
  sizeOf,
} from "../tensor/index.js";
import type { ModelSourceOptions } from "./options.js";
import type { QuantisedSpec } from "./training-graph.js";

export interface WeightSource {
  /** What `config.json` says. */
  readonly json: Readonly<Record<string, unknown>>;
  readonly config: ModelConfig;
  /** The folder that also holds the tokenizer, if the source is one. */
  readonly folder: string | null;
  /** Fills `target` with a parameter; NaN and infinities are refused by name. */
  readonly fill: (parameter: Parameter, target: Float32Array) => void;
  /** Whether a parameter is stored as bf16, so that nothing is lost by keeping it so. */
  readonly isBfloat16: (parameter: Parameter) => boolean;
  /** The bits of a parameter for which `isBfloat16` holds; NaN and infinities are refused by name. */
  readonly bfloat16: (parameter: Parameter) => Uint16Array;
  readonly quantise: (parameter: Parameter, spec: QuantisedSpec) => QuantisedMatrix;
  readonly close: () => void;
}

/** @throws UserError naming the file, what was found and what was expected */
export function openWeightSource(model: ModelSourceOptions): WeightSource {
  if (typeof model !== "string") return seededSource(model.config, model.seed);
  return model.endsWith(".gguf") ? ggufSource(model) : folderSource(model);
}

function folderSource(folder: string): WeightSource {
  const { json, config } = readModelConfig(folder);
  const file = openSafetensors(folder);
  try {
    expectParameters(folder, file, config);
  } catch (thrown) {
    file.close();
    throw thrown;
  }
  return {
    json,
    config,
    folder,
    fill: ({ name }, target) => file.readInto(name, target, { rejectNonFinite: true }),
    isBfloat16: ({ name }) => file.tensors.get(name)?.dtype === "BF16",
    bfloat16: ({ name }) => {
      const bits = new Uint16Array(file.readRaw(name).buffer);
      // An exponent of all ones is an infinity or no number.
      const at = bits.findIndex((value) => (value & 0x7f80) === 0x7f80);
      if (at >= 0) {
        throw new UserError(
          `Cannot read tensor "${name}" of "${folder}": element ${at} is not finite, expected only finite weights`,
        );
      }
      return bits;
    },
    quantise: ({ name }, { block, zeroPoints }) =>
      quantiseFromFile(file, name, { block, zeroPoint: zeroPoints }),
    close: () => file.close(),
  };
}

/** Reads `config.json` of a Hugging Face folder. */
export function readModelConfig(folder: string): {
  readonly json: Readonly<Record<string, unknown>>;
  readonly config: ModelConfig;
} {
  const path = join(folder, "config.json");
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    throw new UserError(
      `Cannot open model "${folder}": there is no such folder, expected one with config.json, model.safetensors and tokenizer.json`,
    );
  }
  if (!existsSync(path))
    throw new UserError(
      `Cannot open model "${folder}": it has no config.json, expected a Hugging Face model folder`,
    );
  try {
    const json = JSON.parse(readFileSync(path, "utf8")) as Readonly<Record<string, unknown>>; // checked by parseModelConfig
    return { json, config: parseModelConfig(json, path) };
  } catch (thrown) {
    if (thrown instanceof UserError) throw thrown;
    throw new UserError(`Cannot read model config ${path}: ${messageOf(thrown)}`, { cause: thrown });
  }
}

/** Every parameter is there in its shape, and nothing is there that would make another model. */
function expectParameters(folder: string, { tensors }: SafetensorsFile, config: ModelConfig): void {
  const refuse = (what: string): UserError => new UserError(`Cannot load model "${folder}": ${what}`);
  const expected = parametersOf(config);
  for (const { name, shape } of expected) {
    const entry = tensors.get(name);
    if (entry === undefined) {
      throw refuse(
        `tensor "${name}" is missing, expected shape [${shape.join(", ")}] by config.json. The file has ${tensors.size} tensors`,
      );
    }
    if (entry.shape.join() !== shape.join()) {
      throw refuse(
        `tensor "${name}" has shape [${entry.shape.join(", ")}] in ${entry.file}, expected [${shape.join(", ")}] by config.json`,
      );
    }
  }
  // Some checkpoints carry the rotary frequencies, or the head again although it is tied; both follow from the rest.
  const names = new Set(expected.map(({ name }) => name));
  const isRedundant = (name: string): boolean =>
    name.endsWith("rotary_emb.inv_freq") || (config.tiedEmbeddings && name === "lm_head.weight");
  const unknown = [...tensors.keys()].find((name) => !names.has(name) && !isRedundant(name));
  if (unknown !== undefined) {
    throw refuse(
      `tensor "${unknown}" in ${tensors.get(unknown)!.file} belongs to no ${config.family} model of this config.json, expected only its ${expected.length} parameters`,
    );
  }
}

function ggufSource(path: string): WeightSource {
  const model = readGgufModel(path);
  const tensors = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  return {
    json: model.config,
    config: parseModelConfig(model.config, `of GGUF file "${path}"`),
    folder: null,
    fill: ({ name }, target) => target.set(tensors.get(name)!.read()),
    isBfloat16: () => false,
    bfloat16: ({ name }) => {
      throw new Error(`internal: GGUF parameter "${name}" was asked for as bf16`);
    },
    quantise: ({ name, shape }, spec) => {
      const tensor = tensors.get(name)!;
      // Blocks that already have this form are taken bit for bit.
      if (tensor.readQ4 !== undefined && spec.block === 32 && !spec.zeroPoints) return tensor.readQ4();
      return quantised(shape, spec, tensor.read());
    },
    close: () => model.close(),
  };
}

function seededSource(json: Readonly<Record<string, unknown>>, seed: number): WeightSource {
  const config = parseModelConfig(json, "of fresh weights");
  // As in checkpoints: a config that says bfloat16 has weights that bf16 holds exactly.
  const isBfloat16 = (json["dtype"] ?? json["torch_dtype"]) === "bfloat16";
  // One scratch for all weights that do not stay float32: garbage of hundreds of megabytes each is collected too late.
  let scratch = new Float32Array(0);
  const fill = (parameter: Parameter, target: Float32Array): void => {
    initialiseParameter(config, parameter, target, seed);
    if (!isBfloat16) return;
    const bits = new Uint16Array(target.length);
    bfloat16FromFloat32Into(bits, target);
    float32FromBfloat16Into(target, bits);
  };
  const filled = (parameter: Parameter): Float32Array => {
    const size = sizeOf(parameter.shape);
    if (scratch.length < size) scratch = new Float32Array(size);
    const values = scratch.subarray(0, size);
    initialiseParameter(config, parameter, values, seed);
    return values;
  };
  return {
    json,
    config,
    folder: null,
    fill,
    isBfloat16: () => isBfloat16,
    bfloat16: (parameter) => {
      const bits = new Uint16Array(sizeOf(parameter.shape));
      bfloat16FromFloat32Into(bits, filled(parameter));
      return bits;
    },
    quantise: (parameter, spec) => quantised(parameter.shape, spec, filled(parameter)),
    close: () => {},
  };
}

function quantised(
  shape: readonly number[],
  { block, zeroPoints }: QuantisedSpec,
  values: Float32Array,
): QuantisedMatrix {
  const matrix = createQuantisedMatrix(shape[0]!, shape[1]!, { block, zeroPoint: zeroPoints });
  quantiseRowsInto(matrix, 0, values);
  return matrix;
}
