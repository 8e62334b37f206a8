/**
 * Frozen weights kept as released checkpoints keep them: bf16, half the memory, no digit lost. The native provider's
 * products read the bits themselves; for all others the weight is widened first.
 */
import { apply, type Op, shapeError, type Value } from "../graph.js";

/** bf16 bits, uint16 [...] → the same numbers as float32 [...]. */
export const Widen: Op<null> = {
  name: "widen",
  types: (inputs) => {
    if (inputs[0]!.dtype !== "uint16")
      throw shapeError("widen", `dtype is ${inputs[0]!.dtype}, expected uint16`, inputs);
    return [{ shape: inputs[0]!.shape, dtype: "float32" }];
  },
  vjp: () => [null],
  lower: {
    primitives: (emit, { inputs, outputs }) => {
      // ONNX cannot reinterpret bits, so all 65,536 numbers stand in a table.
      const index = emit.fresh("index");
      emit.node("Cast", [emit.name(inputs[0]!)], [index], { to: 6 });
      const table = Array.from({ length: 1 << 16 }, (_, bits) => widened(bits));
      emit.node("Gather", [emit.constant("float32", [1 << 16], table), index], [emit.name(outputs[0]!)], {
        axis: 0,
      });
    },
  },
  reference: ([bits]) => [bits!.data.map(widened)],
};

function widened(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits << 16);
  return view.getFloat32(0);
}

/** A bf16 weight as float32 values. */
export function widen(bits: Value): Value {
  return apply(Widen, [bits], null);
}
