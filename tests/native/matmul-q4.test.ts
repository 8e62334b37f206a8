/** The 4-bit product against the dequantised matrix in float64. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { missing, openKernels } from "./library.js";
import { expectClose, normals } from "./numbers.js";

describe.skipIf(missing !== undefined)(
  `matmul_q4 kernel${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? openKernels() : undefined!;

    // Few rows go straight from the nibbles, many through panels; 5000 x 512 needs two panels; 48 is no multiple of 32.
    it.each([
      { m: 1, nOut: 70, kIn: 192, block: 32, zeroPoints: true },
      { m: 3, nOut: 66, kIn: 192, block: 32, zeroPoints: false },
      { m: 15, nOut: 33, kIn: 256, block: 128, zeroPoints: true },
      { m: 20, nOut: 70, kIn: 192, block: 48, zeroPoints: true },
      { m: 33, nOut: 70, kIn: 192, block: 64, zeroPoints: false },
      { m: 18, nOut: 5000, kIn: 512, block: 128, zeroPoints: false },
      { m: 2, nOut: 7, kIn: 48, block: 16, zeroPoints: true },
    ])("matmul_q4() of $m rows with $nOut x $kIn in blocks of $block is float64's, both ways", (shape) => {
      const { m, nOut, kIn, block, zeroPoints } = shape;
      const random = new Random(m * nOut);
      const packed = Uint8Array.from({ length: (nOut * kIn) / 2 }, () => random.integer(256));
      const scales = normals(random, (nOut * kIn) / block, 0.1);
      const zeros = zeroPoints ? Uint8Array.from(scales, () => random.integer(16)) : null;
      const weight = (n: number, k: number): number => {
        const byte = packed[(n * kIn + k) >> 1]!;
        const at = n * (kIn / block) + Math.floor(k / block);
        return ((k % 2 === 0 ? byte & 15 : byte >> 4) - (zeros === null ? 8 : zeros[at]!)) * scales[at]!;
      };
      const x = normals(random, m * kIn);
      const z = normals(random, m * nOut);
      const y = new Float64Array(m * nOut);
      const back = new Float64Array(m * kIn);
      for (let n = 0; n < nOut; n++)
        for (let k = 0; k < kIn; k++) {
          const value = weight(n, k);
          for (let r = 0; r < m; r++) {
            y[r * nOut + n]! += x[r * kIn + k]! * value;
            back[r * kIn + k]! += z[r * nOut + n]! * value;
          }
        }
      for (const { isa, name } of kernels.isas) {
        kernels.limit(isa);
        const actual = new Float32Array(m * nOut);
        const actualBack = new Float32Array(m * kIn);
        kernels.run("matmul_q4", m, nOut, kIn, block, 0, x, packed, scales, zeros, actual);
        kernels.run("matmul_q4", m, nOut, kIn, block, 1, z, packed, scales, zeros, actualBack);
        expectClose(`x W^T (${name})`, actual, y, 2e-6);
        expectClose(`z W (${name})`, actualBack, back, 2e-6);
      }
    });

    it.each([
      ["a block that does not divide the columns", 32, 48],
      ["a block that is no multiple of 16", 8, 48],
    ])("matmul_q4() refuses %s", (_what, block, kIn) => {
      const scales = new Float32Array(Math.ceil(kIn / block));
      const answer = kernels.status(
        "matmul_q4",
        1,
        1,
        kIn,
        block,
        0,
        new Float32Array(kIn),
        new Uint8Array(kIn / 2),
        scales,
        null,
        new Float32Array(1),
      );
      expect(answer).toBe(4);
    });
  },
);
