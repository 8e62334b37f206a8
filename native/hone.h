/*
 * The kernels of the native lowering, as plain C: float32, row-major, dense. Nothing here knows onnxruntime.
 *
 * A kernel splits its work with a pool (one per call, given by the caller) and takes temporary memory with
 * hone_take/hone_give. Results do not depend on the number of threads: an index of the pool always writes the
 * same numbers, whoever runs it.
 */
#ifndef HONE_H
#define HONE_H

#include <stddef.h>
#include <stdint.h>

#define HONE_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* ---- pool and scratch memory (pool.c) ------------------------------------------------------------------- */

typedef void (*hone_body)(void *arg, int64_t index);

/* run calls body(arg, 0 .. count-1), each once, on any thread, in any order, and returns when all are done. */
typedef struct hone_pool {
  void *context;
  void (*run)(struct hone_pool *pool, int64_t count, hone_body body, void *arg);
  int threads; /* how many bodies can run at once; a hint for choosing count, never for choosing numbers */
} hone_pool;

/* A pool that runs every body on the calling thread. */
HONE_API hone_pool hone_serial_pool(void);
/* A pool that starts `threads - 1` threads for each run. For tests and measurements. */
HONE_API hone_pool hone_thread_pool(int threads);

/*
 * Temporary memory, 64-byte aligned, not cleared; safe on any thread. NULL when the system has no more.
 * Given-back blocks are kept for the next taker (at most a fixed total), so a take costs no page faults.
 */
HONE_API void *hone_take(size_t bytes);
HONE_API void hone_give(void *block);
/* Returns every kept block to the system. */
HONE_API void hone_release_scratch(void);

/* ---- processor (cpu.c) ---------------------------------------------------------------------------------- */

/* The widest instruction set that this process may use. HONE_ISA=avx2|avx512|amx in the environment lowers it. */
typedef enum { HONE_ISA_SCALAR = 0, HONE_ISA_AVX2 = 1, HONE_ISA_AVX512 = 2, HONE_ISA_AMX = 3 } hone_isa;

HONE_API int hone_cpu_isa(void);
/* Lowers or restores the instruction set, for tests; answers what is in force. */
HONE_API int hone_limit_isa(int isa);

/* Function-level targets: a kernel compiled for an instruction set is called only when hone_cpu_isa() has it. */
#define HONE_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define HONE_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#define HONE_TARGET_AMX                                                                                          \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,avx2,fma,f16c")))

/* ---- matrix multiply (matmul.c) ------------------------------------------------------------------------- */

/*
 * C = alpha op(A) op(B) + beta C, op(X) = X or its transpose. op(A) is [m,k], op(B) is [k,n], C is [m,n].
 * lda, ldb, ldc are the row lengths of A, B and C as stored. beta = 0 never reads C.
 * float32-grade: the error is that of a float32 sum. Bitwise repeatable, for any number of threads.
 */
HONE_API void hone_gemm(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                        int64_t lda, int trans_a, const float *b, int64_t ldb, int trans_b, float beta, float *c,
                        int64_t ldc);

/* The same, with a row of n numbers added to every row of C (NULL for none). */
HONE_API void hone_gemm_bias(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                             int64_t lda, int trans_a, const float *b, int64_t ldb, int trans_b, float beta,
                             const float *bias, float *c, int64_t ldc);

/* ==== native-B's section: attention, norm, swiglu, rotary, logprobs, matmul_q4 =========================== */

/* ==== end of native-B's section ========================================================================== */

#ifdef __cplusplus
}
#endif

#endif
