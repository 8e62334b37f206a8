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
enum { HONE_FEW_ROWS = 1, HONE_MANY_ROWS = 2 };

typedef struct hone_pool {
  void *context;
  void (*run)(struct hone_pool *pool, int64_t count, hone_body body, void *arg);
  int threads; /* how many bodies can run at once; a hint for choosing count, never for choosing numbers */
  /*
   * Not 0: each row of a product x w^T is summed in the same order whatever the number of rows, so that a sequence's
   * numbers do not depend on what is computed beside it. HONE_FEW_ROWS and HONE_MANY_ROWS say for what it is to be fast.
   */
  int batch_invariant;
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
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,prfchw,avx2,fma,f16c")))

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

/*
 * The same with B in bf16 (the upper halves of float32): half the memory, on AMX half the work, and nothing is lost, since
 * the numbers of B are taken as they are.
 */
HONE_API void hone_gemm_bf16(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                             int trans_a, const uint16_t *b, int64_t ldb, int trans_b, float beta, const float *bias,
                             float *c, int64_t ldc);

/* A product's operands and result, as the arguments above. b is float32, or bf16 where it says so. */
typedef struct hone_product {
  int64_t m, n, k;
  float alpha;
  const float *a;
  int64_t lda;
  int trans_a;
  const void *b;
  int b_is_bf16;
  int64_t ldb;
  int trans_b;
  float beta;
  const float *bias;
  float *c;
  int64_t ldc;
} hone_product;

/*
 * Several products, to the last bit as one after the other. Up to HONE_MOST_SHARING that have a or b in common, and are of one
 * kind otherwise, are computed together, so that what they share is packed once and the threads wake once.
 */
#define HONE_MOST_SHARING 3
HONE_API void hone_gemm_sharing(hone_pool *pool, int64_t count, const hone_product *products);

/* ==== native-B's section: attention, norm, swiglu, rotary, logprobs, matmul_q4 =========================== */

/* What a kernel answers. After anything but HONE_OK its outputs hold no meaning. */
typedef enum {
  HONE_OK = 0,
  HONE_NO_MEMORY = 1,  /* the system has no more memory */
  HONE_BAD_ENDS = 2,   /* ends[t] is not above t, above the number of tokens, or outside of the tree around t */
  HONE_BAD_INDEX = 3,  /* a target or a position is outside its table */
  HONE_BAD_SHAPE = 4   /* sizes that no kernel handles (head width not a multiple of 4, heads not of kv_heads, ...) */
} hone_status;

/*
 * Causal attention over packed trees of sequences, grouped queries (attention.c).
 *
 *     s[t,j] = scale q[t].k[j]    p = softmax over the j <= t with ends[j] > t    o[t] = sum_j p[t,j] v[j]
 *
 * q, o: [tokens, heads * width], k, v: [tokens, kv_heads * width]; head h reads kv head h / (heads / kv_heads).
 * ends[j] is the index behind the last token that sees token j: the end of j's own sequence or, where several sequences
 * share j, of the last of them. A shared prefix stands once, before its branches, which may have branches themselves.
 * Of the tokens it sees, t attends to the last `window`, itself included; 0 means all. lse: [tokens, heads] is
 * log sum_j exp(s[t,j]), which the gradient needs. No memory of tokens x tokens is used.
 */
typedef struct hone_attention {
  int64_t tokens, heads, kv_heads, width, window;
  float scale;
} hone_attention;

HONE_API hone_status hone_attention_forward(hone_pool *pool, const hone_attention *shape, const float *q, const float *k,
                                            const float *v, const int32_t *ends, float *o, float *lse);
HONE_API hone_status hone_attention_backward(hone_pool *pool, const hone_attention *shape, const float *q, const float *k,
                                             const float *v, const int32_t *ends, const float *o, const float *lse,
                                             const float *d_o, float *dq, float *dk, float *dv);

/* y = x inv_std w, inv_std = 1 / sqrt(mean x^2 + eps), for each row of x [rows, width] (norm.c). */
HONE_API hone_status hone_rms_norm(hone_pool *pool, int64_t rows, int64_t width, float eps, const float *x, const float *w,
                                   float *y, float *inv_std);
/* dx = inv_std (dy w) - x inv_std^3 mean(x dy w), dw = sum over rows of dy x inv_std. dw may be NULL. */
HONE_API hone_status hone_rms_norm_grad(hone_pool *pool, int64_t rows, int64_t width, const float *x, const float *w,
                                        const float *inv_std, const float *dy, float *dx, float *dw);

/* y = silu(gate) up, element by element (swiglu.c). */
HONE_API hone_status hone_swiglu(hone_pool *pool, int64_t count, const float *gate, const float *up, float *y);
HONE_API hone_status hone_swiglu_grad(hone_pool *pool, int64_t count, const float *gate, const float *up,
                                      const float *dy, float *d_gate, float *d_up);

/*
 * Rotates the pairs (i, i + width/2) of every head of x [tokens, heads * width] by the angle of row positions[t] of
 * cos, sin [table_rows, width/2]; by its negative when inverse is not 0 (rotary.c).
 */
HONE_API hone_status hone_rotary(hone_pool *pool, int64_t tokens, int64_t heads, int64_t width, int inverse, const float *x,
                                 const int64_t *positions, const float *cos, const float *sin, int64_t table_rows,
                                 float *y);

/*
 * Log-probabilities of targets under logits = hidden w^T, hidden [rows, width], w [vocab, width] (logprobs.c).
 *
 *     lse[s] = log sum_v exp(logits[s,v])    logprobs[s] = logits[s, targets[s]] - lse[s]
 *     entropy[s] = -sum_v p log p, p = exp(logits[s,v] - lse[s])
 *     dlogits[s,v] = d_logprobs[s] (1[v = targets[s]] - p) - d_entropy[s] p (log p + entropy[s])
 *
 * The logits exist only in blocks. dw may be NULL (frozen head), and so may entropy and, both, its two inputs of the
 * gradient. The third form is the first two in one pass, for when
 * d_logprobs does not depend on logprobs.
 */
HONE_API hone_status hone_logprobs(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden,
                                   const float *w, const int64_t *targets, float *logprobs, float *lse, float *entropy);
HONE_API hone_status hone_logprobs_grad(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden,
                                        const float *w, const int64_t *targets, const float *lse, const float *d_logprobs,
                                        const float *entropy, const float *d_entropy, float *d_hidden, float *dw);
HONE_API hone_status hone_logprobs_with_grad(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab,
                                             const float *hidden, const float *w, const int64_t *targets,
                                             const float *d_logprobs, float *logprobs, float *lse, float *d_hidden,
                                             float *dw);
/* The same for a frozen head in bf16. */
HONE_API hone_status hone_logprobs_bf16(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden,
                                        const uint16_t *w, const int64_t *targets, float *logprobs, float *lse,
                                        float *entropy);
HONE_API hone_status hone_logprobs_grad_bf16(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab,
                                             const float *hidden, const uint16_t *w, const int64_t *targets,
                                             const float *lse, const float *d_logprobs, const float *entropy,
                                             const float *d_entropy, float *d_hidden);
HONE_API hone_status hone_logprobs_with_grad_bf16(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab,
                                                  const float *hidden, const uint16_t *w, const int64_t *targets,
                                                  const float *d_logprobs, float *logprobs, float *lse,
                                                  float *d_hidden);

/*
 * Product with a 4-bit matrix W[n,k] = (q - zero) scale, n < n_out, k < k_in (matmul_q4.c). packed: [n_out, k_in / 2], the
 * low nibble is the even column; scales, zeros: [n_out, k_in / block]; zeros may be NULL, then zero = 8.
 * block is a multiple of 16 that divides k_in. transposed = 0: y[m,n_out] = x[m,k_in] W^T; 1: y[m,k_in] = x[m,n_out] W.
 */
HONE_API hone_status hone_matmul_q4(hone_pool *pool, int64_t m, int64_t n_out, int64_t k_in, int64_t block, int transposed,
                                    const float *x, const uint8_t *packed, const float *scales, const uint8_t *zeros,
                                    float *y);

/*
 * y = x w^T + c for a w [n, k] that is packed beforehand, to be multiplied many times (matmul_panels.c). Panel p holds rows
 * 32 p to 32 p + 31 of w turned, [k][32], zeros where w has no more rows. x: [m, k], y: [m, n], which may be c; c: NULL, or
 * one row of n (c_step 0), or [m, n] (c_step n). What a row of y is does not depend on m.
 */
#define HONE_PANEL_COLUMNS 32

HONE_API hone_status hone_pack_panels(hone_pool *pool, int64_t n, int64_t k, const float *w, float *panels);
HONE_API hone_status hone_matmul_panels(hone_pool *pool, int64_t m, int64_t n, int64_t k, const float *x,
                                        const float *panels, const float *c, int64_t c_step, float *y);

/* out[i] = table[indices[i]], table [rows, width] in bf16, out [count, width] (gather.c). */
HONE_API hone_status hone_gather_bf16(hone_pool *pool, int64_t rows, int64_t width, int64_t count, const uint16_t *table,
                                      const int64_t *indices, float *out);

/* out = 0, then out[indices[i]] += updates[i] for i = 0, 1, ...; updates [count, width], out [rows, width] (gather.c). */
HONE_API hone_status hone_scatter_add(hone_pool *pool, int64_t rows, int64_t width, int64_t count, const int64_t *indices,
                                      const float *updates, float *out);

/*
 * One AdamW step in place, as torch.optim.AdamW (adamw.c). g is multiplied by grad_scale first; step counts from 1.
 *
 *     p -= lr weight_decay p    m = b1 m + (1-b1) g    v = b2 v + (1-b2) g^2
 *     p -= lr / (1-b1^step) m / (sqrt(v / (1-b2^step)) + eps)
 */
typedef struct hone_adamw_step {
  double lr, beta1, beta2, eps, weight_decay, grad_scale;
  int64_t step;
} hone_adamw_step;

HONE_API hone_status hone_adamw(hone_pool *pool, int64_t count, const hone_adamw_step *step, float *p, const float *g, float *m,
                                float *v);
/* Sum of squares in double precision. */
HONE_API hone_status hone_sum_squares(hone_pool *pool, int64_t count, const float *x, double *sum);


/*
 * Attention of new tokens over a paged cache of keys and values (decode_attention.c).
 *
 * A page holds HONE_CACHE_PAGE tokens: keys [kv_heads][width][HONE_CACHE_PAGE], values [kv_heads][HONE_CACHE_PAGE][width].
 * tables [sequences, table_width] lists each sequence's pages; token t of [0, tokens) belongs to sequences[t] and stands at
 * positions[t] of it. k and v [tokens, kv_heads * width] are stored in their pages first; then
 *
 *     o[t] = softmax over max(0, positions[t] - window + 1) <= j <= positions[t] of scale q[t].key[j], times value[j]
 *
 * What is computed for a token does not depend on the other sequences. Pages that are written must belong to one sequence.
 */
#define HONE_CACHE_PAGE 16

typedef struct hone_decode_attention {
  int64_t tokens, heads, kv_heads, width, window, pages, sequences, table_width;
  float scale;
} hone_decode_attention;

HONE_API hone_status hone_decode_attention_forward(hone_pool *pool, const hone_decode_attention *shape, const float *q,
                                                   const float *k, const float *v, float *keys, float *values,
                                                   const int32_t *tables, const int32_t *sequences,
                                                   const int32_t *positions, float *o);

/* ==== end of native-B's section ========================================================================== */

#ifdef __cplusplus
}
#endif

#endif
