/** Products with packed weights: right, and each row's bits its own, whatever the rows beside it and the threads. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { missing, openKernels } from "./library.js";
import { normals } from "./numbers.js";

/** Rows and width of w: a lone row, below, at and beyond panels, chunks of k and bodies of the pool. */
const SIZES = [
  [1, 1],
  [31, 7],
  [32, 512],
  [100, 513],
  [500, 1030],
] as const;
const MOST = 150;
const ROWS = [1, 2, 3, 7, 8, 13, 64, 65];

describe.skipIf(missing !== undefined)(
  `panel kernels${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? openKernels() : undefined!;
    const isas = missing === undefined ? kernels.isas : [];

    it.each(SIZES)("pack_panels() turns every 32 of %i rows of %i, and pads with zeros", (n, k) => {
      const w = normals(new Random(n), n * k);
      for (const { isa, name } of isas) {
        kernels.limit(isa);
        const panels = new Float32Array(Math.ceil(n / 32) * 32 * k).fill(Number.NaN);
        kernels.run("pack_panels", n, k, w, panels);
        for (const [i, value] of panels.entries()) {
          const panel = Math.floor(i / (32 * k));
          const row = 32 * panel + (i % 32);
          const column = Math.floor((i % (32 * k)) / 32);
          if (value !== (row < n ? w[row * k + column] : 0))
            throw new Error(`number ${i} is ${value} (${name})`);
        }
      }
      kernels.limit(-1);
    });

    it.each(SIZES)("matmul_panels() by %i rows of %i: every row is the row alone, and right", (n, k) => {
      const random = new Random(k);
      const [x, w, bias, before] = [MOST * k, n * k, n, MOST * n].map((size) => normals(random, size)) as [
        ...[Float32Array, Float32Array],
        ...[Float32Array, Float32Array],
      ];
      const panels = new Float32Array(Math.ceil(n / 32) * 32 * k);
      kernels.run("pack_panels", n, k, w, panels);
      for (const { isa, name } of isas) {
        kernels.limit(isa);
        for (const [c, step] of [
          [null, 0],
          [bias, 0],
          [before, n],
        ] as const) {
          const multiply = (m: number, from: number, threads: number): Float32Array => {
            const y = new Float32Array(m * n);
            kernels.threads(threads);
            const added = c === null ? null : c.subarray(step * from, step === 0 ? n : step * (from + m));
            kernels.run("matmul_panels", m, n, k, x.subarray(from * k), panels, added, step, y);
            return y;
          };
          const all = multiply(MOST, 0, 3);
          for (const m of ROWS) expect(multiply(m, 0, 1), `${m} rows (${name})`).toEqual(all.slice(0, m * n));
          expect(multiply(1, MOST - 1, 2), `the last row (${name})`).toEqual(all.slice((MOST - 1) * n));
          for (let i = (MOST - 2) * n; i < MOST * n; i++) {
            const [row, j] = [Math.floor(i / n), i % n];
            let [sum, size] = [c === null ? 0 : c[step === 0 ? j : i]!, 4];
            for (let l = 0; l < k; l++) {
              const product = x[row * k + l]! * w[j * k + l]!;
              sum += product;
              size += Math.abs(product);
            }
            expect(Math.abs(all[i]! - sum)).toBeLessThan(4e-7 * size);
          }
        }
      }
      kernels.limit(-1);
      kernels.threads(2);
    });
  },
);
