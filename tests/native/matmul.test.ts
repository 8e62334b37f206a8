/** The matrix multiply of native/ against float64, on every instruction set of this machine, with B in float32 and in bf16. */
import { existsSync } from "node:fs";
import koffi from "koffi";
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { kernelLibraryPath } from "../../src/engine/session/index.js";
import { bf16Of, widened } from "./numbers.js";

const ISAS = ["scalar", "avx2", "avx512", "amx"] as const;
const AVX512 = 2;

interface Case {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly alpha?: number;
  readonly beta?: number;
  readonly bias?: boolean;
  readonly threads?: number;
  /** B is stored in bf16. */
  readonly bf16?: boolean;
  /** Put into A at row 1, k = 5. */
  readonly spoil?: number;
  /** Numbers between the rows of A, B and C that belong to someone else. */
  readonly gap?: number;
}

/** Operands and result, with their row lengths. */
interface Product {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly c: Float32Array;
  readonly before: Float32Array;
  readonly bias: Float32Array | undefined;
  readonly lda: number;
  readonly ldb: number;
  readonly ldc: number;
}

interface Outcome {
  readonly c: Float32Array;
  readonly gapsKept: boolean;
  /** Largest and root-mean-square error of an element, in units of |alpha| sum |a||b| + |beta c| + |bias|. */
  readonly worst: number;
  readonly rms: number;
}

interface Kernels {
  readonly limit: (isa: number) => number;
  readonly multiply: (test: Case, seed?: number) => Product;
  readonly run: (test: Case, seed?: number) => Outcome;
  /** a bT on two threads, b in float32 or in bf16. */
  readonly multiplyRows: (
    m: number,
    n: number,
    k: number,
    a: Float32Array,
    b: Float32Array | Uint16Array,
  ) => Float32Array;
}

/** Something else's number, in the gaps between rows. */
const FOREIGN = 12345;

function loadKernels(): Kernels {
  const library = koffi.load(kernelLibraryPath());
  koffi.struct("hone_pool", { context: "void *", run: "void *", threads: "int", batch_invariant: "int" });
  const limit = library.func("int hone_limit_isa(int isa)");
  const threadPool = library.func("hone_pool hone_thread_pool(int threads)");
  const parameters =
    "(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, void *a, int64_t lda, " +
    "int transA, void *b, int64_t ldb, int transB, float beta, void *bias, void *c, int64_t ldc)";
  const gemm = library.func(`void hone_gemm_bias${parameters}`);
  const gemmBf16 = library.func(`void hone_gemm_bf16${parameters}`);
  const multiply = (test: Case, seed = 1): Product => {
    const { m, n, k, transA = false, transB = false, alpha = 1, beta = 0, threads = 1, gap = 0 } = test;
    const random = new Random(seed);
    const numbers = (rows: number, columns: number): Float32Array => {
      const values = new Float32Array(rows * (columns + gap) + 1).fill(FOREIGN);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) values[i * (columns + gap) + j] = random.normal();
      return values;
    };
    const [lda, ldb, ldc] = [(transA ? m : k) + gap, (transB ? k : n) + gap, n + gap];
    const a = transA ? numbers(k, m) : numbers(m, k);
    if (test.spoil !== undefined) a[lda + 5] = test.spoil;
    const drawn = transB ? numbers(n, k) : numbers(k, n);
    const halves = bf16Of(drawn);
    const b = test.bf16 === true ? widened(halves) : drawn;
    const c = numbers(m, n);
    const before = c.slice();
    const bias = test.bias === true ? numbers(1, n) : undefined;
    if (beta === 0) for (let i = 0; i < m; i++) c.fill(Number.NaN, i * ldc, i * ldc + n);
    (test.bf16 === true ? gemmBf16 : gemm)(
      threadPool(threads),
      m,
      n,
      k,
      alpha,
      a,
      lda,
      transA ? 1 : 0,
      test.bf16 === true ? halves : b,
      ldb,
      transB ? 1 : 0,
      beta,
      bias ?? null,
      c,
      ldc,
    );

    return { a, b, c, before, bias, lda, ldb, ldc };
  };
  const run = (test: Case, seed = 1): Outcome => {
    const { m, n, k, transA = false, transB = false, alpha = 1, beta = 0 } = test;
    const { a, b, c, before, bias, lda, ldb, ldc } = multiply(test, seed);
    let worst = 0;
    let squares = 0;
    let gapsKept = c[c.length - 1] === FOREIGN;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        let size = 0;
        for (let l = 0; l < k; l++) {
          const product = a[transA ? l * lda + i : i * lda + l]! * b[transB ? j * ldb + l : l * ldb + j]!;
          sum += product;
          size += Math.abs(product);
        }
        const old = beta === 0 ? 0 : beta * before[i * ldc + j]!;
        const add = bias?.[j] ?? 0;
        const wanted = alpha * sum + old + add;
        const unit = Math.abs(alpha) * size + Math.abs(old) + Math.abs(add);
        const error = unit === 0 ? Math.abs(c[i * ldc + j]!) : Math.abs(c[i * ldc + j]! - wanted) / unit;
        worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
        squares += error * error;
      }
      for (let j = n; j < ldc; j++) gapsKept &&= c[i * ldc + j] === FOREIGN;
    }
    return { c, gapsKept, worst, rms: Math.sqrt(squares / (m * n)) };
  };
  const multiplyRows: Kernels["multiplyRows"] = (m, n, k, a, b) => {
    const c = new Float32Array(m * n);
    const call = b instanceof Uint16Array ? gemmBf16 : gemm;
    call(threadPool(2), m, n, k, 1, a, k, 0, b, k, 1, 0, null, c, n);
    return c;
  };
  return { limit, multiply, run, multiplyRows };
}

const bytesOf = (values: Float32Array): Buffer => Buffer.from(values.buffer);

const built = existsSync(kernelLibraryPath());
const title = built ? "matrix multiply" : "matrix multiply (skipped: the kernel library is not built)";

describe.skipIf(!built)(title, () => {
  const { limit, multiply, run, multiplyRows } = built ? loadKernels() : ({} as Kernels);
  const TRANSPOSES = [
    { transA: false, transB: false },
    { transA: false, transB: true },
    { transA: true, transB: false },
    { transA: true, transB: true },
  ];
  /** Whole tiles, one less, one more, single rows and columns, k beyond one block of it. */
  const SIZES: readonly (readonly [number, number, number])[] = [
    [1, 1, 1],
    [1, 40, 17],
    [5, 1, 33],
    [2, 3, 1],
    [12, 32, 16],
    [31, 33, 31],
    [33, 15, 64],
    [32, 32, 32],
    [64, 96, 65],
    [97, 61, 50],
    [49, 17, 97],
    [17, 48, 513],
    [16, 130, 600],
    [130, 16, 600],
    [37, 70, 1100],
    [300, 40, 20],
    [40, 300, 20],
  ];

  const FORMS = ISAS.flatMap((name, isa) => [
    { name, isa, bf16: false },
    { name: `${name}, B in bf16`, isa, bf16: true },
  ]);
  for (const { name, isa, bf16 } of FORMS) {
    const available = built && limit(isa) === isa;
    if (built) limit(-1);
    describe.skipIf(!available)(available ? name : `${name} (skipped: not on this processor)`, () => {
      const on = <T>(body: () => T): T => {
        limit(isa);
        try {
          return body();
        } finally {
          limit(-1);
        }
      };

      it.each(TRANSPOSES)("is right to float32 for every size (%o)", (transposes) => {
        for (const [m, n, k] of SIZES) {
          const { worst, gapsKept } = on(() => run({ bf16, m, n, k, ...transposes, gap: (m + n) % 3 }));
          expect(worst, `${m} x ${n} x ${k}`).toBeLessThan(3e-7);
          expect(gapsKept, `${m} x ${n} x ${k} keeps what lies between rows`).toBe(true);
        }
      });

      it.each([
        { alpha: 0.3 },
        { beta: 1 },
        { alpha: -2, beta: 0.5 },
        { bias: true },
        { alpha: 1.7, beta: -1, bias: true },
        { alpha: 0, beta: 2, bias: true },
        { k: 0, beta: 1, bias: true },
        { k: 0 },
      ])("adds what it is told to (%o)", (change) => {
        for (const [m, n, k] of [
          [3, 50, 40],
          [50, 3, 40],
          [70, 45, 700],
        ] as const) {
          for (const transposes of TRANSPOSES) {
            const { worst, gapsKept } = on(() => run({ bf16, m, n, k, ...transposes, ...change, gap: 2 }));
            expect(worst).toBeLessThan(3e-7);
            expect(gapsKept).toBe(true);
          }
        }
      });

      it("gives the same bits with any number of threads", () => {
        for (const [m, n, k] of [
          [200, 150, 700],
          [90, 400, 100],
          [8, 3000, 100],
        ] as const) {
          for (const transposes of bf16 ? TRANSPOSES.slice(0, 2) : TRANSPOSES) {
            const [one, ...others] = [1, 2, 3, 7, 2].map((threads) =>
              on(() => multiply({ bf16, m, n, k, ...transposes, threads }).c),
            );
            for (const other of others) expect(Buffer.compare(bytesOf(other), bytesOf(one!))).toBe(0);
          }
        }
      });

      it("shows what is not finite in its row and nowhere else", () => {
        for (const [m, n, k] of [
          [40, 40, 80],
          [3, 50, 80],
        ] as const) {
          for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
            const { c } = on(() => multiply({ bf16, m, n, k, transB: true, spoil: bad }));
            for (let i = 0; i < m; i++) {
              for (let j = 0; j < n; j++) expect(Number.isFinite(c[i * n + j])).toBe(i !== 1);
            }
          }
        }
      });

      it("leaves C alone when it has no rows or no columns", () => {
        expect(on(() => run({ bf16, m: 0, n: 5, k: 3 })).c).toEqual(Float32Array.of(FOREIGN));
        expect(on(() => run({ bf16, m: 5, n: 0, k: 3, gap: 1 })).gapsKept).toBe(true);
      });
    });
  }

  it("takes an operand that is too large to be packed at once in parts", () => {
    // 64 columns of 200,000 are 77 MB packed, 26 MB in bf16: one panel of 32 columns at a time.
    const [m, n, k] = [65, 64, 200_000];
    const pattern = (count: number, prime: number): Float32Array => {
      const values = new Float32Array(count);
      for (let i = 0; i < count; i++) values[i] = ((i * prime) % 1021) / 512 - 1;
      return values;
    };
    const [a, drawn] = [pattern(m * k, 7919), pattern(n * k, 104_729)];
    const halves = bf16Of(drawn);
    for (const b of [drawn, halves]) {
      const numbers = b === halves ? widened(halves) : drawn;
      const c = multiplyRows(m, n, k, a, b);
      for (const i of [0, 31, 64]) {
        for (const j of [0, 31, 32, 63]) {
          let [sum, size] = [0, 0];
          for (let l = 0; l < k; l++) {
            const product = a[i * k + l]! * numbers[j * k + l]!;
            sum += product;
            size += Math.abs(product);
          }
          expect(Math.abs(c[i * n + j]! - sum) / size).toBeLessThan(3e-7);
        }
      }
    }
  });

  const amx = ISAS.indexOf("amx");
  const hasAmx = built && limit(amx) === amx;
  if (built) limit(-1);
  it.skipIf(!hasAmx)(
    hasAmx ? "is as exact on AMX as on AVX-512" : "is as exact on AMX as on AVX-512 (skipped: no AMX here)",
    () => {
      for (const [m, n, k] of [
        [64, 64, 64],
        [64, 64, 512],
        [48, 48, 3000],
      ] as const) {
        for (const bf16 of [false, true])
          for (const transB of [false, true]) {
            const errors = [AVX512, amx].map((isa) => {
              limit(isa);
              const outcome = run({ m, n, k, transB, bf16 }, k);
              limit(-1);
              return outcome;
            });
            expect(errors[1]!.worst).toBeLessThan(2 * errors[0]!.worst);
            expect(errors[1]!.rms).toBeLessThan(2 * errors[0]!.rms);
          }
      }
    },
  );
});
