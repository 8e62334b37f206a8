/** Runs compiled graphs on every runtime that this machine has. */

import { Executable } from "../../src/engine/executable.js";
import { createRuntime, createStockRuntime, type Runtime } from "../../src/engine/session/index.js";
import type { Lowering, OnnxModel, ReferenceArray, Value } from "../../src/graph/index.js";
import { type HostTensor, hostTensor } from "../../src/tensor/index.js";

/** The stock runtime with both stock lowerings, and the native one where its kernels are built. */
export async function createRuntimes(): Promise<
  { readonly lowering: Lowering; readonly runtime: Runtime }[]
> {
  const stock = await createStockRuntime();
  const best = await createRuntime();
  return [
    { lowering: "primitives", runtime: stock },
    { lowering: "cpu", runtime: stock },
    ...(best.lowering === "native" ? [{ lowering: "native" as const, runtime: best }] : []),
  ];
}

export type TypedArrays = Readonly<
  Record<string, { readonly dtype: Value["dtype"]; readonly array: ReferenceArray }>
>;

export async function runModel(
  runtime: Runtime,
  model: OnnxModel,
  inputs: TypedArrays,
): Promise<Record<string, Float64Array>> {
  const executable = await Executable.create(runtime, model);
  try {
    const outputs = await executable.run(
      Object.fromEntries(
        Object.entries(inputs).map(([name, { dtype, array }]) => [name, toHost(dtype, array)]),
      ),
    );
    return Object.fromEntries(
      Object.entries(outputs).map(([name, { data }]) => [
        name,
        Float64Array.from(data as ArrayLike<number | bigint>, Number),
      ]),
    );
  } finally {
    executable.release();
  }
}

export function toHost(dtype: Value["dtype"], { shape, data }: ReferenceArray): HostTensor {
  const array = {
    float32: () => Float32Array.from(data),
    int64: () => BigInt64Array.from(data, (value) => BigInt(value)),
    int32: () => Int32Array.from(data),
    bool: () => Uint8Array.from(data),
    uint8: () => Uint8Array.from(data),
    uint16: () => Uint16Array.from(data),
  }[dtype]();
  return hostTensor(dtype, shape, array);
}
