/** Rotary position embedding (Su et al., arXiv:2104.09864) in the half-split layout of Hugging Face checkpoints. */
import { apply, type Op, shapeError, type Value } from "../graph.js";
import { add, mul, neg, sub } from "./elementwise.js";
import { gatherRows } from "./gather.js";
import { concat, slice } from "./join.js";
import { reshape } from "./movement.js";

export interface RotaryAttributes {
  readonly heads: number;
  /** Rotates backwards, which is the transpose. */
  readonly inverse: boolean;
}

/**
 * Rotates the pairs (i, i + K/2) of every head by the angle whose cosine and sine stand in row `positions[t]`:
 * x [T, H·K], positions [T] int64, cos and sin [P, K/2] → [T, H·K].
 */
export const Rotary: Op<RotaryAttributes> = {
  name: "rotary",
  types: (inputs, { heads }) => {
    const [x, positions, cos] = inputs;
    if (positions!.dtype !== "int64" || x!.shape[1] !== heads * 2 * (cos!.shape[1] as number)) {
      throw shapeError(
        "rotary",
        `width is not ${heads} heads of twice the table's width, or positions are not int64`,
        inputs,
      );
    }
    return [{ shape: x!.shape, dtype: "float32" }];
  },
  vjp: ({ inputs: [, positions, cos, sin], outputGrads: [dy], attributes: { heads, inverse } }) => [
    apply(Rotary, [dy!, positions!, cos!, sin!], { heads, inverse: !inverse }),
    null,
    null,
    null,
  ],
  decompose: ([x, positions, cos, sin], { heads, inverse }) => {
    const half = cos!.shape[1] as number; // head widths are always known
    const tokens = x!.shape[0]!;
    const table = (values: Value): Value => reshape(gatherRows(values, positions!), [tokens, 1, half]);
    const cosine = table(cos!);
    const sine = inverse ? neg(table(sin!)) : table(sin!);
    const perHead = reshape(x!, [tokens, heads, 2 * half]);
    const [first, second] = [slice(perHead, 2, 0, half), slice(perHead, 2, half, 2 * half)];
    const rotated = concat(
      [sub(mul(first, cosine), mul(second, sine)), add(mul(second, cosine), mul(first, sine))],
      2,
    );
    return [reshape(rotated, x!.shape)];
  },
  lower: {
    cpu: (emit, { inputs: [x, positions, cos, sin], outputs, attributes: { heads, inverse } }) => {
      // The contrib op wants [batch, sequence, width] and refuses sequences longer than the table, so every token is a
      // batch of its own. It has no option for the inverse but a negated table.
      const batched = (value: Value): string => {
        const name = emit.fresh("batched");
        emit.node("Unsqueeze", [emit.name(value), emit.constant("int64", [1], [1])], [name]);
        return name;
      };
      let sine = emit.name(sin!);
      if (inverse) {
        const negated = emit.fresh("negated");
        emit.node("Neg", [sine], [negated]);
        sine = negated;
      }
      const rotated = emit.fresh("rotated");
      emit.node(
        "RotaryEmbedding",
        [batched(x!), batched(positions!), emit.name(cos!), sine],
        [rotated],
        { num_heads: heads, interleaved: 0 },
        "com.microsoft",
      );
      emit.node("Squeeze", [rotated, emit.constant("int64", [1], [1])], [emit.name(outputs[0]!)]);
    },
    native: (emit, { inputs, outputs, attributes: { heads, inverse } }) =>
      emit.node(
        "Rotary",
        inputs.map((value) => emit.name(value)),
        [emit.name(outputs[0]!)],
        { heads, inverse: Number(inverse) },
        "hone",
      ),
  },
  reference: ([x, positions, cos, sin], { heads, inverse }) => {
    const half = cos!.shape[1]!;
    const width = heads * 2 * half;
    return [
      x!.data.map((value, i) => {
        const within = i % (2 * half);
        const row = positions!.data[Math.floor(i / width)]! * half;
        const cosine = cos!.data[row + (within % half)]!;
        const sine = sin!.data[row + (within % half)]! * (inverse ? -1 : 1);
        return within < half
          ? value * cosine - x!.data[i + half]! * sine
          : value * cosine + x!.data[i - half]! * sine;
      }),
    ];
  },
};

export function rotary(
  x: Value,
  positions: Value,
  tables: { readonly cos: Value; readonly sin: Value },
  heads: number,
): Value {
  return apply(Rotary, [x, positions, tables.cos, tables.sin], { heads, inverse: false });
}
