/**
 * A model's float32 weights, packed for decoding: a step multiplies a few rows by every weight, and reads packed ones twice as
 * fast. A second copy, kept where it is small; it is made again when a trainer may have changed the weights.
 */
import koffi from "koffi";
import * as g from "../../graph/index.js";
import { headName, parametersOf } from "../../nn/index.js";
import { type HostTensor, hostTensor, sizeOf } from "../../tensor/index.js";
import { Executable } from "../executable.js";
import type { ModelSpec } from "../training-graph.js";
import type { SamplingModel } from "./model-runner.js";

/** A weight [out, in] that a graph reads packed. */
export interface PackedParameter {
  readonly name: string;
  readonly shape: readonly [number, number];
}

/** Beyond these weights are read as they lie: packing again after every update would cost too much memory and time. */
const MOST_BYTES = 512 * 2 ** 20;
/** Panels begin at cache lines; a JavaScript buffer need not. */
const LINE = 64;

/** Name of the input that holds a parameter's panels. */
export const panelsName = (parameter: string): string => `panels:${parameter}`;

export class PackedWeights {
  readonly parameters: readonly PackedParameter[];
  /** By the names of inputs; as new as the last `refresh`. */
  tensors: Readonly<Record<string, HostTensor>> = {};
  readonly #model: SamplingModel;
  #executable: Executable | undefined;
  #isStale = true;

  constructor(model: SamplingModel) {
    this.#model = model;
    this.parameters = model.runtime.lowering === "native" ? affordable(model.spec) : [];
  }

  /** Says that nothing is being sampled, so that a trainer may change its weights before the next `refresh`. */
  release(): void {
    // An adapter is trained beside the weights, which stay as they are.
    this.#isStale ||= this.#model.isTrained === true && this.#model.spec.lora === null;
  }

  async refresh(): Promise<void> {
    if (!this.#isStale || this.parameters.length === 0) return;
    this.#executable ??= await this.#create();
    await this.#executable.run(this.#model.tensors, this.#executable.outputNames, this.tensors);
    this.#isStale = false;
  }

  close(): void {
    this.#executable?.release();
    this.#executable = undefined;
    this.tensors = {};
    this.#isStale = true;
  }

  async #create(): Promise<Executable> {
    const { runtime, threads } = this.#model;
    const outputs = Object.fromEntries(
      this.parameters.map(({ name, shape }) => [panelsName(name), g.packPanels(g.input(name, shape)).panels]),
    );
    const model = g.compile({ outputs }, { lowering: runtime.lowering });
    this.tensors = alignedTensors(model.outputs);
    return Executable.create(runtime, model, threads === undefined ? {} : { threads });
  }
}

/** Projections and head in float32; none when all of them together are too large. */
function affordable({ config, quantised, bfloat16 }: ModelSpec): PackedParameter[] {
  const chosen = parametersOf(config).filter(
    ({ name, role }) =>
      !bfloat16.has(name) && ((role === "projection" && quantised === null) || name === headName(config)),
  );
  const bytes = chosen.reduce((total, { shape }) => total + 4 * sizeOf(shape), 0);
  if (bytes > MOST_BYTES) return [];
  return chosen.map(({ name, shape }) => ({ name, shape: shape as readonly [number, number] })); // weights are matrices
}

function alignedTensors(outputs: readonly g.NamedValue[]): Record<string, HostTensor> {
  const sizes = outputs.map(({ shape }) => sizeOf(shape as readonly number[])); // the sizes of weights are known
  const buffer = new ArrayBuffer(4 * sizes.reduce((a, b) => a + b, 0) + LINE);
  let at = -Number(koffi.address(new Uint8Array(buffer)) % BigInt(LINE)) & (LINE - 1);
  return Object.fromEntries(
    outputs.map(({ name, shape }, i) => {
      const data = new Float32Array(buffer, at, sizes[i]!);
      at += data.byteLength;
      return [name, hostTensor("float32", shape as readonly number[], data)];
    }),
  );
}
