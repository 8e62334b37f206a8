/** Reads a model and its adapters for sampling alone: every weight is frozen, so nothing is kept for an optimizer. */
import { UserError } from "../../base/index.js";
import { loraParameters, parametersOf } from "../../nn/index.js";
import { type HostTensor, hostTensor } from "../../tensor/index.js";
import { readAdapter } from "../adapter-files.js";
import { createRuntime } from "../session/index.js";
import { frozenSpec } from "../spec.js";
import type { ModelSpec } from "../training-graph.js";
import { openWeightSource } from "../weight-source.js";
import { frozenTensors } from "../weights.js";
import type { ModelAdapter } from "./model-runner.js";
import type { SamplingEngineOptions } from "./sampler-options.js";
import { SamplingEngine } from "./sampling-engine.js";

export interface SamplerInfo {
  readonly family: string;
  readonly parameters: number;
  readonly vocabularySize: number;
  readonly maxPositions: number;
  /** Which operators run, and why those. */
  readonly runtime: string;
}

/** @throws UserError when the model, an adapter or an option is wrong */
export async function openSampler(
  options: SamplingEngineOptions,
): Promise<{ readonly engine: SamplingEngine; readonly info: SamplerInfo }> {
  const { threads } = options;
  const source = openWeightSource(options.model);
  try {
    if (source.config.head === "score")
      throw new UserError(
        `Cannot sample from "${String(options.model)}": it is a reward model, which predicts no tokens, expected one that does`,
      );
    const runtime = await createRuntime({ prefer: options.runtime ?? "native" });
    const spec = frozenSpec(options, source, runtime.lowering);
    const tensors = frozenTensors(spec, source, parametersOf(spec.config));
    const adapters = readAdapters(options.adapters ?? {}, spec, tensors);
    const engine = new SamplingEngine(
      { spec, tensors, runtime, adapters, ...(threads === undefined ? {} : { threads }) },
      options,
    );
    const { family, vocabularySize, maxPositions } = spec.config;
    const parameters = parametersOf(spec.config).reduce(
      (total, { shape }) => total + shape.reduce((a, b) => a * b, 1),
      0,
    );
    const info = {
      family,
      parameters,
      vocabularySize,
      maxPositions,
      runtime: `${runtime.lowering} (${runtime.reason})`,
    };
    return { engine, info };
  } finally {
    source.close();
  }
}

/** Adapters in memory, by name. `base` are the tensors they sit on; a trainer's own adapter is not among them. */
export function readAdapters(
  folders: Readonly<Record<string, string>>,
  spec: ModelSpec,
  base: Readonly<Record<string, HostTensor>>,
): Map<string, ModelAdapter> {
  return new Map(
    Object.entries(folders).map(([name, folder]) => {
      if (name === "") throw new UserError('Cannot load adapter "": its name is empty, expected a word');
      const adapter = readAdapter(folder, spec.config);
      const matrices = loraParameters(spec.config, adapter.lora).map(({ name: parameter, shape }) => [
        parameter,
        hostTensor("float32", shape, adapter.tensors.get(parameter)!),
      ]);
      const tensors: Readonly<Record<string, HostTensor>> = { ...base, ...Object.fromEntries(matrices) };
      return [name, { spec: { ...spec, lora: adapter.lora }, tensors }];
    }),
  );
}
