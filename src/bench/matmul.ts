/**
 * The rate at which this machine multiplies matrices, measured on the products that one training step of a model
 * makes: for every linear layer the output, the gradient of the input and the gradient of the weight.
 */
import { Random } from "../base/index.js";
import { compile, input, type Lowering, matmul } from "../graph/index.js";
import { type HostTensor, hostTensor } from "../tensor/index.js";
import type { Contender } from "./measure-in-turn.js";
import { linearsOf, type ModelShape } from "./model-shape.js";

/** A linear layer's weight [outputs, inputs] and how many such layers a step has. */
export interface Linear {
  readonly inputs: number;
  readonly outputs: number;
  readonly count: number;
}

/** What it takes to run a graph; the engine's runtime fits. */
export interface MatmulRuntime {
  readonly lowering: Lowering;
  createSession(model: Uint8Array): Promise<MatmulSession>;
}

interface MatmulSession {
  run(inputs: Tensors, outputs: Tensors): Promise<void>;
  release(): void;
}

type Tensors = Readonly<Record<string, HostTensor>>;

/** The distinct linear layers of a model, its vocabulary projection included. */
export function distinctLinears(shape: ModelShape): readonly Linear[] {
  const counts = new Map<string, Linear>();
  const add = (inputs: number, outputs: number, times: number) => {
    const key = `${inputs}x${outputs}`;
    counts.set(key, { inputs, outputs, count: (counts.get(key)?.count ?? 0) + times });
  };
  for (const { inputs, outputs } of linearsOf(shape)) add(inputs, outputs, shape.layers);
  add(shape.hiddenSize, shape.vocabularySize, 1);
  return [...counts.values()];
}

/** Floating-point operations of one turn: three products for every linear layer. */
export function matmulFlops(linears: readonly Linear[], tokens: number): number {
  return linears.reduce(
    (sum, { inputs, outputs, count }) => sum + count * 3 * 2 * tokens * inputs * outputs,
    0,
  );
}

/** Our side: every product through a session of its own, into memory allocated beforehand. */
export async function matmulContender(
  runtime: MatmulRuntime,
  linears: readonly Linear[],
  tokens: number,
): Promise<Contender & { close(): void }> {
  const random = new Random(1);
  const runs: { session: MatmulSession; inputs: Tensors; outputs: Tensors; count: number }[] = [];
  for (const { inputs, outputs, count } of linears) {
    const x = filled([tokens, inputs], random);
    const weight = filled([outputs, inputs], random);
    const dy = filled([tokens, outputs], random);
    const products = [
      { left: x, right: weight, result: [tokens, outputs], transA: false, transB: true },
      { left: dy, right: weight, result: [tokens, inputs], transA: false, transB: false },
      { left: dy, right: x, result: [outputs, inputs], transA: true, transB: false },
    ];
    for (const { left, right, result, transA, transB } of products) {
      const product = matmul(input("left", left.shape), input("right", right.shape), { transA, transB });
      const { bytes } = compile({ outputs: { product } }, { lowering: runtime.lowering });
      const session = await runtime.createSession(bytes);
      const outputs = { product: filled(result, random) };
      runs.push({ session, inputs: { left, right }, outputs, count });
    }
  }
  return {
    name: runtime.lowering,
    pids: [process.pid],
    seconds: async () => {
      const start = performance.now();
      for (const { session, inputs, outputs, count } of runs) {
        for (let i = 0; i < count; i++) await session.run(inputs, outputs);
      }
      return (performance.now() - start) / 1000;
    },
    close: () => {
      for (const { session } of runs) session.release();
    },
  };
}

/** Uniform in [-1, 1): the value of an operand does not matter as long as it is no denormal. */
function filled(shape: readonly number[], random: Random): HostTensor {
  const size = shape.reduce((product, axis) => product * axis, 1);
  return hostTensor(
    "float32",
    shape,
    Float32Array.from({ length: size }, () => random.uniform() * 2 - 1),
  );
}
