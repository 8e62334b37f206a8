/** Rows of a bf16 table as floats, and rows added up by index. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { missing, openKernels } from "./library.js";
import { bf16Of, normals, widened } from "./numbers.js";

describe.skipIf(missing !== undefined)(
  `gather_bf16 kernel${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? openKernels() : undefined!;

    it.each([1, 3, 16, 37, 9_001])(
      "copies rows of %i numbers to the bit on every instruction set",
      (width) => {
        const [rows, indices] = [5, [4, 0, 4, 2, 1, 3, 3]];
        const table = bf16Of(normals(new Random(width), rows * width));
        table.set([0x7fc0, 0xff80, 0x0001].slice(0, width), 0); // NaN, minus infinity, the least number
        const wide = widened(table);
        const wanted = Buffer.concat(
          indices.map((row) => Buffer.from(wide.buffer, 4 * row * width, 4 * width)),
        );
        for (const { isa } of kernels.isas) {
          kernels.limit(isa);
          const out = new Float32Array(indices.length * width);
          kernels.run(
            "gather_bf16",
            rows,
            width,
            indices.length,
            table,
            BigInt64Array.from(indices, BigInt),
            out,
          );
          expect(Buffer.compare(Buffer.from(out.buffer), wanted)).toBe(0);
        }
        kernels.limit(-1);
      },
    );

    it.each([1, 31, 32, 33, 100])(
      "adds rows of %i numbers up in the order of their indices, the same bits on two threads",
      (width) => {
        const [rows, count] = [5, 400];
        const at = BigInt64Array.from({ length: count }, (_, i) => BigInt(i % 7 === 0 ? 4 : i % 3));
        const updates = normals(new Random(width), count * width);
        const wanted = new Float32Array(rows * width);
        updates.forEach((update, i) => {
          wanted[Number(at[Math.floor(i / width)]) * width + (i % width)]! += update;
        });
        for (const { isa } of kernels.isas) {
          kernels.limit(isa);
          const out = new Float32Array(rows * width).fill(Number.NaN);
          kernels.run("scatter_add", rows, width, count, at, updates, out);
          expect(out).toEqual(wanted);
        }
        kernels.limit(-1);
        const outside = BigInt64Array.of(5n);
        expect(
          kernels.status("scatter_add", rows, width, 1, outside, updates, new Float32Array(5 * width)),
        ).toBe(3);
      },
    );

    it("refuses rows outside the table, and gathers none", () => {
      const status = (...indices: readonly bigint[]): number =>
        kernels.status(
          "gather_bf16",
          2,
          3,
          indices.length,
          new Uint16Array(6),
          BigInt64Array.from(indices),
          new Float32Array(9),
        );
      expect([status(1n), status(0n, 2n), status(-1n), status()]).toEqual([0, 3, 3, 0]);
    });
  },
);
