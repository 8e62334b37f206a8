/** The attention kernels against attention written out in float64. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { missing, openKernels } from "./library.js";
import { dot, expectClose, expectGradient, normals } from "./numbers.js";

/** A sequence's length or, where others branch off behind it, a prefix of that length and its branches. */
type Tree = number | readonly [number, ...Tree[]];

interface Case {
  readonly trees: readonly Tree[];
  readonly heads: number;
  readonly kvHeads: number;
  readonly width: number;
  readonly window: number;
}

/** For each token, in the order in which they are packed, those that it sees: its prefixes' and its own earlier ones. */
function visibleTokens(trees: readonly Tree[]): number[][] {
  const visible: number[][] = [];
  const visit = (tree: Tree, before: readonly number[]): void => {
    const [length, ...branches] = typeof tree === "number" ? [tree] : tree;
    const seen = [...before];
    for (let i = 0; i < length; i++) {
      seen.push(visible.length);
      visible.push([...seen]);
    }
    for (const branch of branches) visit(branch, seen);
  };
  for (const tree of trees) visit(tree, []);
  return visible;
}

/** o and lse for flat q, k, v: one query, one head, one key at a time. */
function referenceAttention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  shape: Case,
): { o: Float64Array; lse: Float64Array } {
  const { trees, heads, kvHeads, width, window } = shape;
  const visible = visibleTokens(trees);
  const o = new Float64Array(visible.length * heads * width);
  const lse = new Float64Array(visible.length * heads);
  for (const [t, all] of visible.entries()) {
    const keys = window > 0 ? all.slice(-window) : all;
    for (let h = 0; h < heads; h++) {
      const group = Math.floor((h * kvHeads) / heads);
      const at = (t * heads + h) * width;
      const scores = keys.map((j) => {
        let score = 0;
        for (let d = 0; d < width; d++) score += q[at + d]! * k[(j * kvHeads + group) * width + d]!;
        return score / Math.sqrt(width);
      });
      const most = Math.max(...scores);
      const total = scores.reduce((sum, score) => sum + Math.exp(score - most), 0);
      lse[t * heads + h] = most + Math.log(total);
      scores.forEach((score, n) => {
        const p = Math.exp(score - most) / total;
        for (let d = 0; d < width; d++) o[at + d]! += p * v[(keys[n]! * kvHeads + group) * width + d]!;
      });
    }
  }
  return { o, lse };
}

/** Index behind the last token that sees each token. */
function endsOf(trees: readonly Tree[]): Int32Array {
  const visible = visibleTokens(trees);
  const ends = new Int32Array(visible.length);
  for (const [t, keys] of visible.entries()) for (const key of keys) ends[key] = t + 1;
  return ends;
}

const CASES: readonly Case[] = [
  { trees: [5, 70, 64, 1], heads: 4, kvHeads: 2, width: 8, window: 0 },
  { trees: [130, 3], heads: 2, kvHeads: 2, width: 64, window: 0 },
  { trees: [90, 33], heads: 6, kvHeads: 3, width: 20, window: 5 },
  { trees: [150], heads: 3, kvHeads: 1, width: 32, window: 66 },
  { trees: [67], heads: 2, kvHeads: 1, width: 128, window: 2 },
  { trees: [530, 2], heads: 1, kvHeads: 1, width: 4, window: 0 },
];

/** Branches that meet within a block of keys and between blocks, shorter than a row group, of one token, and nested. */
const BRANCHED: readonly Case[] = [
  { trees: [[70, 9, 1, 64, 33], 5], heads: 4, kvHeads: 2, width: 8, window: 0 },
  { trees: [3, [64, 64, 64], [1, 1, 2]], heads: 2, kvHeads: 2, width: 64, window: 0 },
  { trees: [[20, [30, 4, 7], 50, [1, 70, [3, 2, 2]]]], heads: 6, kvHeads: 3, width: 20, window: 0 },
  { trees: [[90, 33, 40], 80], heads: 3, kvHeads: 1, width: 32, window: 66 },
  { trees: [[67, 5, 70, [2, 1, 3]]], heads: 2, kvHeads: 1, width: 12, window: 3 },
  { trees: [[500, 40, 90], 2], heads: 1, kvHeads: 1, width: 4, window: 0 },
];

function inputsOf(shape: Case, random: Random) {
  const ends = endsOf(shape.trees);
  const tokens = ends.length;
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
    ends,
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
      const { sizes, q, k, v, ends, dO, wide, narrow, rows } = inputs;
      const o = new Float32Array(wide);
      const lse = new Float32Array(rows);
      const dq = new Float32Array(wide);
      const dk = new Float32Array(narrow);
      const dv = new Float32Array(narrow);
      kernels.run("attention_forward", sizes, q, k, v, ends, o, lse);
      kernels.run("attention_backward", sizes, q, k, v, ends, o, lse, dO, dq, dk, dv);
      return { o, lse, dq, dk, dv };
    }

    /** dq, dk and dv with every way from a root to a leaf as a sequence of its own, added up; dO counts once. */
    function gradientsOfPaths(inputs: ReturnType<typeof inputsOf>, visible: readonly (readonly number[])[]) {
      const sums = {
        dq: new Float64Array(inputs.wide),
        dk: new Float64Array(inputs.narrow),
        dv: new Float64Array(inputs.narrow),
      };
      const done = new Set<number>();
      for (const [t, path] of visible.entries()) {
        if (inputs.ends[t] !== t + 1) continue; // no leaf
        const take = (x: Float32Array): Float32Array => {
          const width = x.length / visible.length;
          return Float32Array.from(path.flatMap((key) => [...x.subarray(key * width, (key + 1) * width)]));
        };
        const part = {
          ...inputs,
          q: take(inputs.q),
          k: take(inputs.k),
          v: take(inputs.v),
          dO: take(inputs.dO),
        };
        const width = inputs.wide / visible.length;
        path.forEach((key, i) => {
          if (done.has(key)) part.dO.fill(0, i * width, (i + 1) * width);
          done.add(key);
        });
        const gradients = forwardBackward({
          ...part,
          sizes: { ...inputs.sizes, tokens: path.length },
          ends: endsOf([path.length]),
          wide: part.q.length,
          narrow: part.k.length,
          rows: path.length * inputs.sizes.heads,
        });
        for (const name of ["dq", "dk", "dv"] as const) {
          const size = sums[name].length / visible.length;
          path.forEach((key, i) => {
            for (let d = 0; d < size; d++) sums[name][key * size + d]! += gradients[name][i * size + d]!;
          });
        }
      }
      return sums;
    }

    it.each([...CASES, ...BRANCHED])(
      "attention of $trees tokens, $heads/$kvHeads heads of $width, window $window is float64's",
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

    it.each([...CASES.slice(0, 5), ...BRANCHED])(
      "its gradient for $trees tokens, $heads/$kvHeads heads of $width, window $window is the derivative",
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

    it("attention over any trees is float64's, and its gradients are those of all its sequences added up", () => {
      const tree: fc.Memo<Tree> = fc.memo((depth) => {
        const length = fc.integer({ min: 1, max: 40 });
        if (depth <= 1) return length;
        const branches = fc.array(tree(depth - 1), { minLength: 1, maxLength: 3 });
        return fc.oneof(
          length,
          fc.tuple(length, branches).map(([first, rest]): Tree => [first, ...rest]),
        );
      });
      const trees = fc.array(tree(3), { minLength: 1, maxLength: 3 });
      const property = fc.property(trees, fc.constantFrom(0, 1, 7, 30), fc.nat(), (shapes, window, seed) => {
        const shape = { trees: shapes, heads: 2, kvHeads: 1, width: 4, window };
        const inputs = inputsOf(shape, new Random(seed));
        const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((x) => Float64Array.from(x)) as [
          Float64Array,
          Float64Array,
          Float64Array,
        ]; // three of three
        const expected = referenceAttention(q, k, v, shape);
        const shared = forwardBackward(inputs);
        expectClose("o", shared.o, expected.o, 2e-6);
        expectClose("lse", shared.lse, expected.lse, 1e-6);
        const alone = gradientsOfPaths(inputs, visibleTokens(shapes));
        for (const name of ["dq", "dk", "dv"] as const) expectClose(name, shared[name], alone[name], 1e-5);
      });
      kernels.limit(-1);
      fc.assert(property, { numRuns: 60, seed: 7 });
    });

    it("attention gives the same bits for one thread and for three", () => {
      const inputs = inputsOf(
        { trees: [600, 77, 140], heads: 4, kvHeads: 2, width: 16, window: 0 },
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
      const together = inputsOf({ ...shape, trees: [70, 41] }, new Random(4));
      kernels.limit(-1);
      const packed = forwardBackward(together);
      const second = {
        ...together,
        sizes: { ...together.sizes, tokens: 41 },
        ends: endsOf([41]),
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
      const shape = { trees: [80], heads: 1, kvHeads: 1, width: 4, window: 0 };
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
      const inputs = inputsOf({ trees: [700], heads: 1, kvHeads: 1, width: 4, window: 0 }, new Random(7));
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
      ["a token that nobody sees", [3, 1, 3]],
      ["an end above the number of tokens", [4, 4, 4]],
      ["a branch that outlives its prefix", [2, 3, 3]],
      ["a branch that outlives its prefix, within another", [5, 3, 4, 5, 5]],
      ["a negative end", [-1, 3, 3]],
    ])("attention refuses %s", (_what, ends) => {
      const inputs = inputsOf(
        { trees: [ends.length], heads: 1, kvHeads: 1, width: 4, window: 0 },
        new Random(6),
      );
      const answer = kernels.status(
        "attention_forward",
        inputs.sizes,
        inputs.q,
        inputs.k,
        inputs.v,
        Int32Array.from(ends),
        new Float32Array(4 * ends.length),
        new Float32Array(ends.length),
      );
      expect(answer).toBe(2);
    });
  },
);
