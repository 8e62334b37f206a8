/** The attention kernels against attention written out in float64. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { missing, openKernels } from "./library.js";
import { dot, expectClose, expectGradient, normals } from "./numbers.js";

interface Case {
  readonly lengths: readonly number[];
  readonly heads: number;
  readonly kvHeads: number;
  readonly width: number;
  readonly window: number;
}

/** o and lse for flat q, k, v: one query, one head, one key at a time. */
function referenceAttention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  shape: Case,
): { o: Float64Array; lse: Float64Array } {
  const { lengths, heads, kvHeads, width, window } = shape;
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const o = new Float64Array(tokens * heads * width);
  const lse = new Float64Array(tokens * heads);
  let start = 0;
  for (const length of lengths) {
    for (let t = start; t < start + length; t++) {
      const first = window > 0 ? Math.max(start, t - window + 1) : start;
      for (let h = 0; h < heads; h++) {
        const group = Math.floor((h * kvHeads) / heads);
        const at = (t * heads + h) * width;
        const scores: number[] = [];
        for (let j = first; j <= t; j++) {
          let score = 0;
          for (let d = 0; d < width; d++) score += q[at + d]! * k[(j * kvHeads + group) * width + d]!;
          scores.push(score / Math.sqrt(width));
        }
        const most = Math.max(...scores);
        const total = scores.reduce((sum, score) => sum + Math.exp(score - most), 0);
        lse[t * heads + h] = most + Math.log(total);
        scores.forEach((score, n) => {
          const p = Math.exp(score - most) / total;
          for (let d = 0; d < width; d++) o[at + d]! += p * v[((first + n) * kvHeads + group) * width + d]!;
        });
      }
    }
    start += length;
  }
  return { o, lse };
}

function startsOf(lengths: readonly number[]): Int32Array {
  const starts: number[] = [];
  for (const length of lengths) {
    const start = starts.length;
    for (let n = 0; n < length; n++) starts.push(start);
  }
  return Int32Array.from(starts);
}

const CASES: readonly Case[] = [
  { lengths: [5, 70, 64, 1], heads: 4, kvHeads: 2, width: 8, window: 0 },
  { lengths: [130, 3], heads: 2, kvHeads: 2, width: 64, window: 0 },
  { lengths: [90, 33], heads: 6, kvHeads: 3, width: 20, window: 5 },
  { lengths: [150], heads: 3, kvHeads: 1, width: 32, window: 66 },
  { lengths: [67], heads: 2, kvHeads: 1, width: 128, window: 2 },
  { lengths: [530, 2], heads: 1, kvHeads: 1, width: 4, window: 0 },
];

function inputsOf(shape: Case, random: Random) {
  const tokens = shape.lengths.reduce((sum, length) => sum + length, 0);
  const wide = tokens * shape.heads * shape.width;
  const narrow = tokens * shape.kvHeads * shape.width;
  return {
    sizes: {
      tokens,
      heads: shape.heads,
      kv_heads: shape.kvHeads,
      width: shape.width,
      window: shape.window,
      scale: 1 / Math.sqrt(shape.width),
    },
    starts: startsOf(shape.lengths),
    q: normals(random, wide),
    k: normals(random, narrow),
    v: normals(random, narrow),
    dO: normals(random, wide),
    wide,
    narrow,
    rows: tokens * shape.heads,
  };
}

describe.skipIf(missing !== undefined)(
  `attention kernels${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? openKernels() : undefined!;

    function forwardBackward(inputs: ReturnType<typeof inputsOf>) {
      const { sizes, q, k, v, starts, dO, wide, narrow, rows } = inputs;
      const o = new Float32Array(wide);
      const lse = new Float32Array(rows);
      const dq = new Float32Array(wide);
      const dk = new Float32Array(narrow);
      const dv = new Float32Array(narrow);
      kernels.run("attention_forward", sizes, q, k, v, starts, o, lse);
      kernels.run("attention_backward", sizes, q, k, v, starts, o, lse, dO, dq, dk, dv);
      return { o, lse, dq, dk, dv };
    }

    it.each(CASES)(
      "attention of $lengths tokens, $heads/$kvHeads heads of $width, window $window is float64's",
      (shape) => {
        const inputs = inputsOf(shape, new Random(1));
        const { q, k, v } = inputs;
        const expected = referenceAttention(
          Float64Array.from(q),
          Float64Array.from(k),
          Float64Array.from(v),
          shape,
        );
        for (const { isa, name } of kernels.isas) {
          kernels.limit(isa);
          const { o, lse } = forwardBackward(inputs);
          // Sums of up to 530 float32 products; 2^-24 is 6e-8.
          expectClose(`o (${name})`, o, expected.o, 2e-6);
          expectClose(`lse (${name})`, lse, expected.lse, 1e-6);
        }
      },
    );

    it.each(CASES.slice(0, 5))(
      "its gradient for $lengths tokens, $heads/$kvHeads heads of $width, window $window is the derivative",
      (shape) => {
        const random = new Random(2);
        const inputs = inputsOf(shape, random);
        const q = Float64Array.from(inputs.q);
        const k = Float64Array.from(inputs.k);
        const v = Float64Array.from(inputs.v);
        const loss = (...args: [Float64Array, Float64Array, Float64Array]): number =>
          dot(referenceAttention(...args, shape).o, inputs.dO);
        const narrowest = kernels.isas[0]!.isa;
        kernels.limit(narrowest);
        const first = forwardBackward(inputs);
        expectGradient("dq", random, inputs.q, first.dq, (x) => loss(x, k, v), { samples: 2 });
        expectGradient("dk", random, inputs.k, first.dk, (x) => loss(q, x, v), { samples: 2 });
        expectGradient("dv", random, inputs.v, first.dv, (x) => loss(q, k, x), { samples: 2 });
        for (const { isa, name } of kernels.isas.slice(1)) {
          kernels.limit(isa);
          const other = forwardBackward(inputs);
          expectClose(`dq (${name})`, other.dq, first.dq, 5e-6);
          expectClose(`dk (${name})`, other.dk, first.dk, 5e-6);
          expectClose(`dv (${name})`, other.dv, first.dv, 5e-6);
        }
      },
    );

    it("attention gives the same bits for one thread and for three", () => {
      const inputs = inputsOf(
        { lengths: [600, 77, 140], heads: 4, kvHeads: 2, width: 16, window: 0 },
        new Random(3),
      );
      kernels.limit(-1);
      kernels.threads(1);
      const one = forwardBackward(inputs);
      kernels.threads(3);
      expect(forwardBackward(inputs)).toEqual(one);
      kernels.threads(2);
    });

    it("attention of a packed batch is the attention of each of its sequences, bit for bit", () => {
      const shape = { heads: 2, kvHeads: 1, width: 16, window: 0 };
      const together = inputsOf({ ...shape, lengths: [70, 41] }, new Random(4));
      kernels.limit(-1);
      const packed = forwardBackward(together);
      const second = {
        ...together,
        sizes: { ...together.sizes, tokens: 41 },
        starts: startsOf([41]),
        q: together.q.slice(70 * 32),
        k: together.k.slice(70 * 16),
        v: together.v.slice(70 * 16),
        dO: together.dO.slice(70 * 32),
        wide: 41 * 32,
        narrow: 41 * 16,
        rows: 41 * 2,
      };
      const alone = forwardBackward(second);
      expect(packed.o.slice(70 * 32)).toEqual(alone.o);
      expect(packed.dq.slice(70 * 32)).toEqual(alone.dq);
      expect(packed.dk.slice(70 * 16)).toEqual(alone.dk);
      expect(packed.dv.slice(70 * 16)).toEqual(alone.dv);
    });

    it("attention with scores of thousands neither overflows nor loses the largest", () => {
      const shape = { lengths: [80], heads: 1, kvHeads: 1, width: 4, window: 0 };
      const inputs = inputsOf(shape, new Random(5));
      const q = inputs.q.map((x) => x * 100);
      const k = inputs.k.map((x) => x * 100);
      const expected = referenceAttention(
        Float64Array.from(q),
        Float64Array.from(k),
        Float64Array.from(inputs.v),
        shape,
      );
      for (const { isa, name } of kernels.isas) {
        kernels.limit(isa);
        // Scores of 1e4 have 1e-3 of absolute rounding, which is the relative error of a probability.
        expectClose(`o (${name})`, forwardBackward({ ...inputs, q, k }).o, expected.o, 5e-3);
      }
    });

    it("attention to equal scores has the logarithm of their number as lse", () => {
      const inputs = inputsOf({ lengths: [700], heads: 1, kvHeads: 1, width: 4, window: 0 }, new Random(7));
      const expected = Float64Array.from({ length: 700 }, (_, t) => Math.log(t + 1));
      for (const { isa, name } of kernels.isas) {
        kernels.limit(isa);
        const { lse } = forwardBackward({ ...inputs, q: new Float32Array(inputs.wide) });
        const worst = lse.reduce(
          (most, x, t) => Math.max(most, t === 0 ? Math.abs(x) : Math.abs(x / expected[t]! - 1)),
          0,
        );
        expect(worst, name).toBeLessThan(2.5e-7);
      }
    });

    it.each([
      ["a start above its token", [0, 2, 2]],
      ["a start inside another sequence", [0, 0, 1]],
      ["no sequence at token 0", [-1, 1, 1]],
    ])("attention refuses %s", (_what, starts) => {
      const inputs = inputsOf({ lengths: [3], heads: 1, kvHeads: 1, width: 4, window: 0 }, new Random(6));
      const answer = kernels.status(
        "attention_forward",
        inputs.sizes,
        inputs.q,
        inputs.k,
        inputs.v,
        Int32Array.from(starts),
        new Float32Array(12),
        new Float32Array(3),
      );
      expect(answer).toBe(2);
    });
  },
);
