/** The kernels that work row by row (RMSNorm, SwiGLU, rotary) against their formulas in float64. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { missing, openKernels } from "./library.js";
import { dot, expectClose, expectGradient, normals } from "./numbers.js";

function referenceNorm(
  x: Float64Array,
  w: Float64Array,
  width: number,
  eps: number,
): { y: Float64Array; invStd: Float64Array } {
  const rows = x.length / width;
  const invStd = Float64Array.from({ length: rows }, (_, r) => {
    const row = x.subarray(r * width, (r + 1) * width);
    return 1 / Math.sqrt(dot(row, row) / width + eps);
  });
  return { invStd, y: x.map((value, i) => value * invStd[Math.floor(i / width)]! * w[i % width]!) };
}

function referenceSwiglu(gate: Float64Array, up: Float64Array): Float64Array {
  return gate.map((x, i) => (x / (1 + Math.exp(-x))) * up[i]!);
}

describe.skipIf(missing !== undefined)(
  `row kernels${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? openKernels() : undefined!;
    const eachIsa = (check: (name: string) => void): void => {
      for (const { isa, name } of kernels.isas) {
        kernels.limit(isa);
        check(name);
      }
    };

    it.each([
      [1, 5],
      [37, 64],
      [60, 70],
      [3000, 16],
    ])("rms_norm() and its gradient of %i rows of %i are float64's", (rows, width) => {
      const random = new Random(rows);
      const x = normals(random, rows * width, 3);
      const w = normals(random, width);
      const dy = normals(random, rows * width);
      const eps = 0.01; // large enough that leaving it out shows
      const wide = Float64Array.from(w);
      const expected = referenceNorm(Float64Array.from(x), wide, width, eps);
      eachIsa((name) => {
        const y = new Float32Array(x.length);
        const invStd = new Float32Array(rows);
        const dx = new Float32Array(x.length);
        const dw = new Float32Array(width);
        kernels.run("rms_norm", rows, width, eps, x, w, y, invStd);
        kernels.run("rms_norm_grad", rows, width, x, w, invStd, dy, dx, dw);
        expectClose(`y (${name})`, y, expected.y, 1e-6);
        expectClose(`invStd (${name})`, invStd, expected.invStd, 1e-6);
        const loss = (a: Float64Array, b: Float64Array): number => dot(referenceNorm(a, b, width, eps).y, dy);
        expectGradient(`dx (${name})`, random, x, dx, (a) => loss(a, wide));
        expectGradient(`dw (${name})`, random, w, dw, (b) => loss(Float64Array.from(x), b));
        const alone = new Float32Array(x.length);
        kernels.run("rms_norm_grad", rows, width, x, w, invStd, dy, alone, null);
        expect(alone).toEqual(dx);
      });
    });

    it("rms_norm_grad() gives the same bits for one thread and for three", () => {
      const random = new Random(7);
      const [rows, width] = [1500, 48];
      const x = normals(random, rows * width);
      const w = normals(random, width);
      const dy = normals(random, rows * width);
      const invStd = normals(random, rows).map(Math.abs);
      kernels.limit(-1);
      const dwWith = (threads: number): Float32Array => {
        const dw = new Float32Array(width);
        kernels.threads(threads);
        kernels.run("rms_norm_grad", rows, width, x, w, invStd, dy, new Float32Array(x.length), dw);
        return dw;
      };
      expect(dwWith(3)).toEqual(dwWith(1));
      kernels.threads(2);
    });

    it.each([2310, 6144, 40000, 6])("swiglu() and its gradient of %i numbers are float64's", (count) => {
      const random = new Random(count);
      const gate = normals(random, count, 4);
      const up = normals(random, count, 4);
      const dy = normals(random, count);
      const [gate64, up64] = [Float64Array.from(gate), Float64Array.from(up)];
      eachIsa((name) => {
        const [y, dGate, dUp] = [new Float32Array(count), new Float32Array(count), new Float32Array(count)];
        kernels.run("swiglu", count, gate, up, y);
        kernels.run("swiglu_grad", count, gate, up, dy, dGate, dUp);
        expectClose(`y (${name})`, y, referenceSwiglu(gate64, up64), 1e-6);
        expectGradient(`gate (${name})`, random, gate, dGate, (x) => dot(referenceSwiglu(x, up64), dy));
        expectGradient(`up (${name})`, random, up, dUp, (x) => dot(referenceSwiglu(gate64, x), dy));
      });
    });

    it("swiglu() of negative gates has the exponential within 2 units in the last place", () => {
      // silu(g) = g e^g / (1 + e^g): e^g alone far below 0; two more roundings come from the quotient and the product.
      const gate = Float32Array.from({ length: 40_000 }, (_, i) => -85 * ((i + 1) / 40_000));
      const up = new Float32Array(gate.length).fill(1);
      eachIsa((name) => {
        const y = new Float32Array(gate.length);
        kernels.run("swiglu", gate.length, gate, up, y);
        const worst = gate.reduce((most, g, i) => {
          const exact = g / (1 + Math.exp(-g));
          return Math.max(most, Math.abs(y[i]! / exact - 1));
        }, 0);
        expect(worst, name).toBeLessThan(3.5e-7);
      });
    });

    it("swiglu() of gates far from 0 is 0 or the gate times up, never something that is not a number", () => {
      const gate = Float32Array.from([-1e30, -200, -90, 90, 200, 1e30]);
      const up = new Float32Array(6).fill(2);
      eachIsa((name) => {
        const [y, dGate, dUp] = [new Float32Array(6), new Float32Array(6), new Float32Array(6)];
        kernels.run("swiglu", 6, gate, up, y);
        kernels.run("swiglu_grad", 6, gate, up, new Float32Array(6).fill(1), dGate, dUp);
        expect([...y.subarray(3)], name).toEqual([180, 400, Math.fround(2e30)]);
        expect(Math.max(...y.subarray(1, 3).map(Math.abs)), name).toBeLessThan(1e-35);
        expect([...dGate.subarray(3)], name).toEqual([2, 2, 2]);
        expect([...dGate, ...dUp].every(Number.isFinite), name).toBe(true);
      });
    });

    it.each([
      [19, 3, 20],
      [40, 2, 64],
    ])("rotary() turns the pairs of %i tokens, %i heads of %i, and back", (tokens, heads, width) => {
      const random = new Random(width);
      const half = width / 2;
      const tableRows = 50;
      const angles = normals(random, tableRows * half, 3);
      const cos = angles.map(Math.cos);
      const sin = angles.map(Math.sin);
      const positions = BigInt64Array.from({ length: tokens }, () => BigInt(random.integer(tableRows)));
      const x = normals(random, tokens * heads * width);
      const expected = Float64Array.from(x, (value, i) => {
        const d = i % width;
        const row = Number(positions[Math.floor(i / (heads * width))]!) * half;
        const partner = d < half ? -x[i + half]! : x[i - half]!;
        return value * cos[row + (d % half)]! + partner * sin[row + (d % half)]!;
      });
      eachIsa((name) => {
        const y = new Float32Array(x.length);
        const back = new Float32Array(x.length);
        kernels.run("rotary", tokens, heads, width, 0, x, positions, cos, sin, tableRows, y);
        kernels.run("rotary", tokens, heads, width, 1, y, positions, cos, sin, tableRows, back);
        expectClose(`y (${name})`, y, expected, 5e-7);
        expectClose(`back (${name})`, back, x, 5e-7);
      });
    });

    it("rotary() refuses a position outside its table", () => {
      const status = (position: bigint): number =>
        kernels.status(
          "rotary",
          1,
          1,
          4,
          0,
          new Float32Array(4),
          BigInt64Array.of(position),
          new Float32Array(6),
          new Float32Array(6),
          3,
          new Float32Array(4),
        );
      expect([status(2n), status(3n), status(-1n)]).toEqual([0, 3, 3]);
    });
  },
);
