/** Products that share an operand: to the last bit what they are one after the other, on every instruction set and pool. */
import koffi from "koffi";
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { kernelLibraryPath } from "../../src/engine/session/index.js";
import { missing } from "./library.js";
import { bf16Of, normals } from "./numbers.js";

const ISAS = [
  ["scalar", 0],
  ["avx2", 1],
  ["avx512", 2],
  ["amx", 3],
] as const;

/** One product of a group, as the kernel takes it; all of them have one row length for each operand. */
interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly alpha: number;
  readonly a: Float32Array;
  readonly b: Float32Array | Uint16Array;
  readonly transA: boolean;
  readonly transB: boolean;
  /** What C holds before, which is added; or null. */
  readonly summand: Float32Array | null;
  readonly bias: Float32Array | null;
}

interface PoolOptions {
  readonly threads: number;
  /** What a pool's `batch_invariant` is. */
  readonly invariant: number;
}

function open() {
  const library = koffi.load(kernelLibraryPath());
  const pool = koffi.struct("hone_pool", {
    context: "void *",
    run: "void *",
    threads: "int",
    batch_invariant: "int",
  });
  koffi.struct("hone_product", {
    ...{ m: "int64_t", n: "int64_t", k: "int64_t", alpha: "float" },
    ...{ a: "void *", lda: "int64_t", trans_a: "int" },
    ...{ b: "void *", b_is_bf16: "int", ldb: "int64_t", trans_b: "int" },
    ...{ beta: "float", bias: "void *", c: "void *", ldc: "int64_t" },
  });
  const threadPool = library.func("hone_thread_pool", pool, ["int"]);
  const limit = library.func("int hone_limit_isa(int isa)");
  const sharing = library.func(
    "void hone_gemm_sharing(hone_pool *pool, int64_t count, const hone_product *products)",
  );
  return {
    widest: Number(limit(-1)),
    limit: (isa: number) => void limit(isa),
    /** The products' results, computed in one call. */
    multiply: (products: readonly Product[], { threads, invariant }: PoolOptions): Float32Array[] => {
      const results = products.map(({ m, n, summand }) =>
        summand === null ? new Float32Array(m * n).fill(Number.NaN) : summand.slice(),
      );
      sharing(
        { ...(threadPool(threads) as object), batch_invariant: invariant },
        products.length,
        products.map(({ m, n, k, alpha, a, b, transA, transB, summand, bias }, i) => ({
          ...{ m, n, k, alpha, a, lda: transA ? m : k, trans_a: Number(transA) },
          ...{ b, b_is_bf16: Number(b instanceof Uint16Array), ldb: transB ? k : n, trans_b: Number(transB) },
          ...{ beta: summand === null ? 0 : 1, bias, c: results[i]!, ldc: n },
        })),
      );
      return results;
    },
  };
}

/** `shared` vectors of one operand, and as many of the other as `sizes` says for each product. */
function drawProducts(
  random: Random,
  {
    shared,
    sizes,
    k,
    sharesRight = false,
    transA = false,
    transB = false,
    isBf16 = false,
    alpha = 1,
  }: {
    readonly shared: number;
    readonly sizes: readonly number[];
    readonly k: number;
    readonly sharesRight?: boolean;
    readonly transA?: boolean;
    readonly transB?: boolean;
    readonly isBf16?: boolean;
    readonly alpha?: number;
  },
): Product[] {
  const right = (count: number): Float32Array | Uint16Array => {
    const drawn = normals(random, count * k);
    return isBf16 ? bf16Of(drawn) : drawn;
  };
  const common = { a: normals(random, shared * k), b: right(shared) };
  return sizes.map((size, i) => {
    const [m, n] = sharesRight ? [size, shared] : [shared, size];
    const operands = sharesRight
      ? { a: normals(random, size * k), b: common.b }
      : { a: common.a, b: right(size) };
    return {
      ...{ m, n, k, alpha, transA, transB, ...operands },
      summand: i === 1 ? normals(random, m * n) : null,
      bias: i === 2 ? normals(random, n) : null,
    };
  });
}

function expectSameBits(actual: readonly Float32Array[], expected: readonly Float32Array[]): void {
  const bits = (result: Float32Array): Uint8Array => new Uint8Array(result.buffer);
  const differing = actual.findIndex((result, i) => Buffer.compare(bits(result), bits(expected[i]!)) !== 0);
  expect(differing, "the first product that differs").toBe(-1);
  expect(actual.length).toBe(expected.length);
}

describe.skipIf(missing !== undefined)(
  `products that share an operand${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? open() : undefined!;
    const available = missing === undefined ? ISAS.filter(([, isa]) => isa <= kernels.widest) : [];
    const cases = [
      ["query, key and value of a batch", { shared: 200, sizes: [96, 33, 40], k: 70, transB: true }],
      ["gate and up of a prompt", { shared: 40, sizes: [130, 130], k: 64, transB: true }],
      ["decoding", { shared: 5, sizes: [200, 64, 65], k: 96, transB: true }],
      ["decoding with frozen weights", { shared: 9, sizes: [70, 130], k: 96, transB: true, isBf16: true }],
      ["frozen weights", { shared: 150, sizes: [64, 40, 90], k: 1100, transB: true, isBf16: true }],
      ["their gradients", { shared: 150, sizes: [64, 40], k: 300, isBf16: true, sharesRight: true }],
      ["weight gradients", { shared: 96, sizes: [96, 34, 150], k: 1300, transA: true, sharesRight: true }],
      [
        "weight gradients of other heights",
        { shared: 64, sizes: [40, 200], k: 90, transA: true, sharesRight: true },
      ],
      ["adapters", { shared: 120, sizes: [16, 8, 16], k: 128, transB: true, alpha: 0.5 }],
      ["an adapter beside a weight", { shared: 120, sizes: [16, 90], k: 128, transB: true }],
      ["no transpose", { shared: 70, sizes: [80, 33], k: 65, alpha: -2 }],
      ["an empty one", { shared: 70, sizes: [80, 0, 33], k: 65 }],
      ["sums over nothing", { shared: 5, sizes: [4, 3, 2], k: 0 }],
    ] as const;

    describe.each(available)("on %s", (_isa, isa) => {
      it.each(cases)("%s: the bits of separate products", (_title, drawn) => {
        kernels.limit(isa);
        const products = drawProducts(new Random(isa + 1), drawn);
        for (const invariant of [0, 1, 2]) {
          const separate = products.flatMap((product) =>
            kernels.multiply([product], { threads: 1, invariant }),
          );
          expect(separate.some((result) => result.some(Number.isNaN))).toBe(false);
          for (const threads of [1, 2, 3])
            expectSameBits(kernels.multiply(products, { threads, invariant }), separate);
        }
        kernels.limit(kernels.widest);
      });
    });

    it("takes more products than fit together, and products that share nothing", () => {
      const random = new Random(3);
      const many = drawProducts(random, { shared: 50, sizes: [40, 41, 42, 43], k: 64, transB: true });
      const mixed = [many[0]!, drawProducts(random, { shared: 30, sizes: [20], k: 50 })[0]!];
      for (const products of [many, mixed]) {
        const separate = products.flatMap((product) =>
          kernels.multiply([product], { threads: 2, invariant: 0 }),
        );
        expectSameBits(kernels.multiply(products, { threads: 2, invariant: 0 }), separate);
      }
    });

    it("takes a joined operand that is too large to be packed at once in parts", () => {
      // Together 27 MB packed, and what they share more.
      const drawn = { shared: 1700, sizes: [500, 700, 300], k: 3000, transB: true };
      const products = drawProducts(new Random(5), drawn);
      const separate = products.flatMap((product) =>
        kernels.multiply([product], { threads: 2, invariant: 0 }),
      );
      expectSameBits(kernels.multiply(products, { threads: 2, invariant: 0 }), separate);
    });
  },
);
