/** Products and attention for sampling: a row's bits do not depend on how many rows are computed beside it. */
import koffi from "koffi";
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { kernelLibraryPath } from "../../src/engine/session/index.js";
import { missing } from "./library.js";
import { normals } from "./numbers.js";

const KINDS = [
  ["few rows", 1],
  ["many rows", 2],
] as const;
const ISAS = [
  ["base", 0],
  ["avx2", 1],
  ["avx512", 2],
  ["amx", 3],
] as const;
/** n, k: beyond and below every tile, chunk and vector. */
const SIZES = [
  [40, 32],
  [33, 70],
  [64, 257],
  [100, 1030],
  [7, 16],
] as const;
const ROWS = [1, 2, 5, 8, 16, 17, 31, 40, 70];

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Float32Array;
  readonly w: Float32Array | Uint16Array;
  readonly before: Float32Array;
  readonly bias: Float32Array | null;
}

function open() {
  const library = koffi.load(kernelLibraryPath());
  const pool = koffi.struct("hone_pool", {
    context: "void *",
    run: "void *",
    threads: "int",
    batch_invariant: "int",
  });
  const threadPool = library.func("hone_thread_pool", pool, ["int"]);
  const limit = library.func("int hone_limit_isa(int isa)");
  const parameters =
    "(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, void *a, int64_t lda, " +
    "int transA, void *b, int64_t ldb, int transB, float beta, void *bias, _Inout_ float *c, int64_t ldc)";
  const gemm = library.func(`void hone_gemm_bias${parameters}`);
  const gemmBf16 = library.func(`void hone_gemm_bf16${parameters}`);
  const q4 = library.func(
    "int hone_matmul_q4(hone_pool *pool, int64_t m, int64_t n, int64_t k, int64_t block, int transposed, " +
      "const float *x, const uint8_t *packed, const float *scales, const uint8_t *zeros, _Out_ float *y)",
  );
  const poolOf = (kind: number, threads: number): unknown => ({
    ...(threadPool(threads) as object),
    batch_invariant: kind,
  });
  return {
    widest: Number(limit(-1)),
    limit: (isa: number) => void limit(isa),
    /** 0.5 a wᵀ + before + bias. */
    multiply: (kind: number, threads: number, { m, n, k, a, w, before, bias }: Product): Float32Array => {
      const c = before.slice(0, m * n);
      const call = w instanceof Uint16Array ? gemmBf16 : gemm;
      call(poolOf(kind, threads), m, n, k, 0.5, a, k, 0, w, k, 1, 1, bias, c, n);
      return c;
    },
    multiplyQ4: (
      kind: number,
      { m, n, k }: { readonly m: number; readonly n: number; readonly k: number },
      x: Float32Array,
      packed: Uint8Array,
      scales: Float32Array,
    ): Float32Array => {
      const y = new Float32Array(m * n);
      expect(q4(poolOf(kind, 2), m, n, k, 32, 0, x, packed, scales, null, y)).toBe(0);
      return y;
    },
  };
}

describe.skipIf(missing !== undefined)(
  `batch-invariant products${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? open() : undefined!;
    const available = missing === undefined ? ISAS.filter(([, isa]) => isa <= kernels.widest) : [];
    const most = Math.max(...ROWS);

    describe.each(available)("on %s", (_isa, isa) => {
      it.each(KINDS)("for %s: every row is the row computed alone, and right", (_kind, kind) => {
        kernels.limit(isa);
        const random = new Random(4);
        for (const [n, k] of SIZES) {
          for (const isBf16 of [false, true]) {
            const a = normals(random, most * k);
            const drawn = normals(random, n * k);
            const halves = Uint16Array.from(drawn, (value) => floatBits(value) >>> 16);
            const widened = Float32Array.from(halves, (value) => bitsFloat(value << 16));
            const before = normals(random, most * n);
            const bias = isBf16 ? null : normals(random, n);
            const w = isBf16 ? halves : drawn;
            const all = kernels.multiply(kind, 2, { m: most, n, k, a, w, before, bias });
            for (const m of ROWS) {
              const some = kernels.multiply(kind, 1, { m, n, k, a, w, before, bias });
              expect(some, `${m} of ${most} rows, n ${n}, k ${k}`).toEqual(all.slice(0, m * n));
            }
            const last = kernels.multiply(kind, 1, {
              ...{ m: 1, n, k, a: a.slice((most - 1) * k), w, before: before.slice((most - 1) * n), bias },
            });
            expect(last).toEqual(all.slice((most - 1) * n));
            const row = most - 1;
            for (let j = 0; j < n; j++) {
              let sum = 0;
              let size = 0;
              for (let l = 0; l < k; l++) {
                const product = 0.5 * a[row * k + l]! * (isBf16 ? widened : drawn)[j * k + l]!;
                sum += product;
                size += Math.abs(product);
              }
              const expected = sum + before[row * n + j]! + (bias?.[j] ?? 0);
              expect(Math.abs(all[row * n + j]! - expected)).toBeLessThan(4e-7 * (size + 4));
            }
          }
        }
        kernels.limit(kernels.widest);
      });

      it.each(KINDS)("for %s: the same with 4-bit weights", (_kind, kind) => {
        kernels.limit(isa);
        const random = new Random(5);
        const [n, k] = [50, 96];
        const x = normals(random, most * k);
        const packed = Uint8Array.from({ length: (n * k) / 2 }, () => random.integer(256));
        const scales = normals(random, (n * k) / 32);
        const all = kernels.multiplyQ4(kind, { m: most, n, k }, x, packed, scales);
        for (const m of ROWS)
          expect(kernels.multiplyQ4(kind, { m, n, k }, x, packed, scales)).toEqual(all.slice(0, m * n));
        kernels.limit(kernels.widest);
      });
    });
  },
);

function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

function bitsFloat(bits: number): number {
  return new Float32Array(Uint32Array.of(bits >>> 0).buffer)[0]!;
}
