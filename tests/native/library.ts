/** The compiled kernels through koffi, for tests: plain functions over typed arrays, on a pool of threads. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import koffi from "koffi";

const path = resolve(import.meta.dirname, "../../build/native/hone-kernels.so");

/** Why the tests of the kernels cannot run here; undefined when they can. */
export const missing = existsSync(path)
  ? undefined
  : "own kernels are not built, run node native/build.mjs with a C compiler";

type Numbers = Float32Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array | Float64Array | null;
export type KernelArgument = number | Numbers | Readonly<Record<string, number>>;

export interface Kernels {
  /** Calls a kernel by its name in C without "hone_"; throws unless it answers HONE_OK. */
  run(name: KernelName, ...args: readonly KernelArgument[]): void;
  /** The same, giving the status back. */
  status(name: KernelName, ...args: readonly KernelArgument[]): number;
  /** The instruction sets that this processor has, least first. */
  readonly isas: readonly { readonly isa: number; readonly name: string }[];
  /** Makes the kernels use this instruction set. */
  limit(isa: number): void;
  /** Makes the kernels use so many threads. */
  threads(count: number): void;
}

const SIGNATURES = {
  attention_forward:
    "const hone_attention *shape, const float *q, const float *k, const float *v, const int32_t *ends, _Out_ float *o, _Out_ float *lse",
  attention_backward:
    "const hone_attention *shape, const float *q, const float *k, const float *v, const int32_t *ends, const float *o, const float *lse, const float *d_o, _Out_ float *dq, _Out_ float *dk, _Out_ float *dv",
  decode_attention_forward:
    "const hone_decode_attention *shape, const float *q, const float *k, const float *v, _Inout_ float *keys, _Inout_ float *values, const int32_t *tables, const int32_t *sequences, const int32_t *positions, _Out_ float *o",
  rms_norm:
    "int64_t rows, int64_t width, float eps, const float *x, const float *w, _Out_ float *y, _Out_ float *inv_std",
  rms_norm_grad:
    "int64_t rows, int64_t width, const float *x, const float *w, const float *inv_std, const float *dy, _Out_ float *dx, _Out_ float *dw",
  swiglu: "int64_t count, const float *gate, const float *up, _Out_ float *y",
  swiglu_grad:
    "int64_t count, const float *gate, const float *up, const float *dy, _Out_ float *d_gate, _Out_ float *d_up",
  rotary:
    "int64_t tokens, int64_t heads, int64_t width, int inverse, const float *x, const int64_t *positions, const float *cos, const float *sin, int64_t table_rows, _Out_ float *y",
  logprobs:
    "int64_t rows, int64_t width, int64_t vocab, const float *hidden, const float *w, const int64_t *targets, _Out_ float *logprobs, _Out_ float *lse, _Out_ float *entropy",
  logprobs_grad:
    "int64_t rows, int64_t width, int64_t vocab, const float *hidden, const float *w, const int64_t *targets, const float *lse, const float *d_logprobs, const float *entropy, const float *d_entropy, _Out_ float *d_hidden, _Out_ float *dw",
  logprobs_with_grad:
    "int64_t rows, int64_t width, int64_t vocab, const float *hidden, const float *w, const int64_t *targets, const float *d_logprobs, _Out_ float *logprobs, _Out_ float *lse, _Out_ float *d_hidden, _Out_ float *dw",
  logprobs_bf16:
    "int64_t rows, int64_t width, int64_t vocab, const float *hidden, const uint16_t *w, const int64_t *targets, _Out_ float *logprobs, _Out_ float *lse, _Out_ float *entropy",
  logprobs_grad_bf16:
    "int64_t rows, int64_t width, int64_t vocab, const float *hidden, const uint16_t *w, const int64_t *targets, const float *lse, const float *d_logprobs, const float *entropy, const float *d_entropy, _Out_ float *d_hidden",
  logprobs_with_grad_bf16:
    "int64_t rows, int64_t width, int64_t vocab, const float *hidden, const uint16_t *w, const int64_t *targets, const float *d_logprobs, _Out_ float *logprobs, _Out_ float *lse, _Out_ float *d_hidden",
  gather_bf16:
    "int64_t rows, int64_t width, int64_t count, const uint16_t *table, const int64_t *indices, _Out_ float *out",
  scatter_add:
    "int64_t rows, int64_t width, int64_t count, const int64_t *indices, const float *updates, _Out_ float *out",
  matmul_q4:
    "int64_t m, int64_t n_out, int64_t k_in, int64_t block, int transposed, const float *x, const uint8_t *packed, const float *scales, const uint8_t *zeros, _Out_ float *y",
  pack_panels: "int64_t n, int64_t k, const float *w, _Out_ float *panels",
  matmul_panels:
    "int64_t m, int64_t n, int64_t k, const float *x, const float *panels, const float *c, int64_t c_step, _Out_ float *y",
  adamw:
    "int64_t count, const hone_adamw_step *step, _Inout_ float *p, const float *g, _Inout_ float *m, _Inout_ float *v",
  sum_squares: "int64_t count, const float *x, _Out_ double *sum",
} as const;

export type KernelName = keyof typeof SIGNATURES;

const ISA_NAMES = ["base", "avx2", "avx512", "amx"] as const;

/** Loads the library; call it only when `missing` is undefined. */
export function openKernels(): Kernels {
  const library = koffi.load(path);
  const pools = koffi.struct("hone_pool", {
    context: "void *",
    run: "void *",
    threads: "int",
    batch_invariant: "int",
  });
  koffi.struct("hone_attention", {
    tokens: "int64_t",
    heads: "int64_t",
    kv_heads: "int64_t",
    width: "int64_t",
    window: "int64_t",
    scale: "float",
  });
  koffi.struct("hone_decode_attention", {
    tokens: "int64_t",
    heads: "int64_t",
    kv_heads: "int64_t",
    width: "int64_t",
    window: "int64_t",
    pages: "int64_t",
    sequences: "int64_t",
    table_width: "int64_t",
    scale: "float",
  });
  koffi.struct("hone_adamw_step", {
    lr: "double",
    beta1: "double",
    beta2: "double",
    eps: "double",
    weight_decay: "double",
    grad_scale: "double",
    step: "int64_t",
  });
  const threadPool = library.func("hone_thread_pool", pools, ["int"]);
  const limitIsa = library.func("hone_limit_isa", "int", ["int"]);
  const functions = new Map(
    Object.entries(SIGNATURES).map(([name, parameters]) => [
      name,
      library.func(`int hone_${name}(hone_pool *pool, ${parameters})`),
    ]),
  );
  let pool: unknown = threadPool(2);
  const widest = Number(limitIsa(-1));
  const status = (name: KernelName, ...args: readonly KernelArgument[]): number =>
    Number(functions.get(name)!(pool, ...args));
  return {
    status,
    run: (name, ...args) => {
      const answer = status(name, ...args);
      if (answer !== 0) throw new Error(`Cannot run hone_${name}: it answers ${answer}, expected 0`);
    },
    isas: ISA_NAMES.slice(0, widest + 1).map((name, isa) => ({ name, isa })),
    limit: (isa) => {
      limitIsa(isa);
    },
    threads: (count) => {
      pool = threadPool(count);
    },
  };
}
