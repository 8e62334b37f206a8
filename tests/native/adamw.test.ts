/** The optimizer kernels against AdamW and a sum of squares in float64. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { missing, openKernels } from "./library.js";
import { dot, expectClose, normals } from "./numbers.js";

describe.skipIf(missing !== undefined)(
  `optimizer kernels${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? openKernels() : undefined!;

    it("adamw() takes the steps of Loshchilov and Hutter's algorithm", () => {
      const count = 70_003; // more than one stretch, and a rest
      const [lr, beta1, beta2, eps, weightDecay, gradScale] = [0.01, 0.9, 0.999, 1e-3, 0.1, 0.5];
      for (const { isa, name } of kernels.isas) {
        kernels.limit(isa);
        const random = new Random(1);
        const p = normals(random, count);
        const m = new Float32Array(count);
        const v = new Float32Array(count);
        const expected = Float64Array.from(p);
        const [m64, v64] = [new Float64Array(count), new Float64Array(count)];
        for (let step = 1; step <= 4; step++) {
          const g = normals(random, count);
          const sizes = { lr, beta1, beta2, eps, weight_decay: weightDecay, grad_scale: gradScale, step };
          kernels.run("adamw", count, sizes, p, g, m, v);
          for (let i = 0; i < count; i++) {
            const gradient = g[i]! * gradScale;
            m64[i] = beta1 * m64[i]! + (1 - beta1) * gradient;
            v64[i] = beta2 * v64[i]! + (1 - beta2) * gradient * gradient;
            const spread = Math.sqrt(v64[i]! / (1 - beta2 ** step)) + eps;
            expected[i] =
              expected[i]! * (1 - lr * weightDecay) - ((lr / (1 - beta1 ** step)) * m64[i]!) / spread;
          }
        }
        expectClose(`p (${name})`, p, expected, 3e-7);
        expectClose(`m (${name})`, m, m64, 1e-6);
        expectClose(`v (${name})`, v, v64, 1e-6);
      }
    });

    it("sum_squares() is exact to double precision and the same for any number of threads", () => {
      const x = normals(new Random(2), 300_007, 100);
      const sumWith = (threads: number): number => {
        const sum = new Float64Array(1);
        kernels.threads(threads);
        kernels.run("sum_squares", x.length, x, sum);
        return sum[0]!;
      };
      for (const { isa } of kernels.isas) {
        kernels.limit(isa);
        expect(Math.abs(sumWith(1) / dot(x, x) - 1)).toBeLessThan(1e-12);
        expect(sumWith(3)).toBe(sumWith(1));
      }
    });
  },
);
