/** Whether a runtime computes: one small graph, checked against numbers known beforehand. */
import type { HostTensor } from "../../tensor/index.js";
import type { Runtime } from "./session.js";
import { type TinyNode, tinyModel } from "./tiny-model.js";

const A_2x3 = [1, 2, 3, 4, 5, 6];
const B_3x2 = [1, -1, 0, 2, 3, 0.5];
/** A B, by hand. */
const EXPECTED_2x2 = [10, 4.5, 22, 9];

/** @throws when the runtime's matrix multiply, its own or stock, is wrong. */
export async function selfTest(runtime: Runtime): Promise<void> {
  const node: TinyNode = {
    opType: "MatMul",
    ...(runtime.lowering === "native" ? { domain: "hone" } : {}),
    inputs: ["a", "b"],
    outputs: ["y"],
  };
  const session = await runtime.createSession(
    tinyModel({
      nodes: [node],
      inputs: [
        { name: "a", dtype: "float32", shape: [2, 3] },
        { name: "b", dtype: "float32", shape: [3, 2] },
      ],
      outputs: [{ name: "y", dtype: "float32", shape: [2, 2] }],
    }),
  );
  const y = float32([2, 2], [0, 0, 0, 0]);
  try {
    await session.run({ a: float32([2, 3], A_2x3), b: float32([3, 2], B_3x2) }, { y });
  } finally {
    session.release();
  }
  if (EXPECTED_2x2.some((value, index) => y.data[index] !== value)) {
    throw new Error(
      `Cannot use the ${runtime.lowering} runtime: its self-test gave ${y.data.join(", ")}, expected ${EXPECTED_2x2.join(", ")}`,
    );
  }
}

function float32(shape: readonly number[], values: readonly number[]): HostTensor<"float32"> {
  return { dtype: "float32", shape, data: Float32Array.from(values) };
}
