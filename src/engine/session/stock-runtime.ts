/**
 * onnxruntime through its own JS binding: stock operators, everywhere that onnxruntime-node runs.
 * The binding copies every output once more; see docs/architecture.md, "Two transports".
 */
import { availableParallelism } from "node:os";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { type HostTensor, sizeOf } from "../../tensor/index.js";
import type { NamedTensors, Runtime, Session, SessionOptions } from "./session.js";
import { tinyModel } from "./tiny-model.js";

/** The stock binding, asked once whether it writes outputs in place. */
export async function createStockRuntime(): Promise<Runtime> {
  const inPlace = await writesInPlace();
  return {
    lowering: "cpu",
    createSession: (model, options = {}) => createStockSession(model, options, inPlace),
  };
}

async function createStockSession(
  model: Uint8Array,
  options: SessionOptions,
  inPlace: boolean,
): Promise<Session> {
  const disabled =
    options.keepDuplicates === true
      ? { optimization: { disable_specified_optimizers: "CommonSubexpressionElimination" } }
      : {};
  const created = await InferenceSession.create(model, {
    intraOpNumThreads: options.threads ?? availableParallelism(),
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    enableMemPattern: options.planMemory === true,
    logSeverityLevel: 3,
    extra: { session: { "intra_op.allow_spinning": "0", disable_prepacking: "1" }, ...disabled },
  }).catch((cause: unknown) => {
    throw failure("Cannot create session", cause);
  });
  return stockSession(created, inPlace);
}

function stockSession(binding: InferenceSession, inPlace: boolean): Session {
  let released = false;
  return {
    run: async (inputs, outputs) => {
      if (released) throw new Error("Cannot run session: it was released");
      requireNames("input", inputs, binding.inputNames);
      requireNames("output", outputs, binding.outputNames);
      const missing = binding.inputNames.find((name) => inputs[name] === undefined);
      if (missing !== undefined) {
        const given = Object.keys(inputs).length;
        throw new Error(
          `Cannot run session: ${given} inputs without "${missing}", expected one for each name`,
        );
      }
      const fetched = await binding.run(tensorsOf(inputs), tensorsOf(outputs)).catch((cause: unknown) => {
        throw failure("Cannot run session", cause);
      });
      if (inPlace) return;
      for (const [name, tensor] of Object.entries(outputs)) {
        // The binding answers with an array of the dtype that was asked for.
        (tensor.data as Float32Array).set(fetched[name]!.data as Float32Array);
      }
    },
    release: () => {
      if (released) return;
      released = true;
      void binding.release();
    },
  };
}

function tensorsOf(named: NamedTensors): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(named).map(([name, tensor]) => [name, tensorOf(name, tensor)]));
}

function tensorOf(name: string, { dtype, shape, data }: HostTensor): Tensor {
  if (data.length !== sizeOf(shape)) {
    throw new Error(
      `Cannot run session: "${name}" has ${data.length} elements, expected ${sizeOf(shape)} ` +
        `for ${dtype} of shape [${shape.join(", ")}]`,
    );
  }
  // Tensor's constructor is overloaded by dtype; HostTensor already pairs dtype and array.
  return new Tensor(dtype as "float32", data as Float32Array, shape);
}

function requireNames(kind: "input" | "output", named: NamedTensors, known: readonly string[]): void {
  const unknown = Object.keys(named).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const list =
    known.length > 8 ? `${known.slice(0, 8).join(", ")} or ${known.length - 8} more` : known.join(", ");
  throw new Error(`Cannot run session: the graph has no ${kind} "${unknown}", expected ${list}`);
}

/** Adds one to a number and looks where the answer went. */
async function writesInPlace(): Promise<boolean> {
  const shape = [1];
  const model = tinyModel({
    nodes: [{ opType: "Add", inputs: ["x", "x"], outputs: ["y"] }],
    inputs: [{ name: "x", dtype: "float32", shape }],
    outputs: [{ name: "y", dtype: "float32", shape }],
  });
  const session = await createStockSession(model, { threads: 1 }, true);
  const y: HostTensor = { dtype: "float32", shape, data: Float32Array.of(0) };
  await session.run({ x: { dtype: "float32", shape, data: Float32Array.of(1) } }, { y });
  session.release();
  return y.data[0] === 2;
}

function failure(action: string, cause: unknown): Error {
  return new Error(`${action}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}
