/*
 * Inside of the matrix multiply: what an instruction set brings (a "tile"), and the driver that uses it (matmul.c).
 *
 * A tile computes mr x nr numbers of C from two packed panels: mr rows of A, nr columns of B, all of k. Panels are
 * packed before use, in units of kstep along k, padded with zeros.
 */
#ifndef HONE_MATMUL_H
#define HONE_MATMUL_H

#include "hone.h"

/* Some vectors (rows of A, columns of B) of op(X), and where they lie. */
typedef struct {
  const void *data;  /* of the first vector, at the first k: float32, or bf16 where the tile says so */
  int64_t ld;        /* row length as stored */
  int k_contiguous;  /* A as is, B transposed: numbers of one vector lie side by side */
  int64_t vectors;
  int64_t k;
  float scale;
} hone_vectors;

/* Cache lines. */
#define HONE_AHEAD_LINES 4

/* How the larger operand is cut, so that a packed block of it stays in the second cache. */
typedef struct {
  int64_t kc;     /* how much of k is packed and multiplied at once */
  int64_t block;  /* rows or columns of a block, about */
  int64_t blocks; /* that every thread finds, at least: a late thread leaves its share to the others */
} hone_cut;

typedef struct {
  int64_t mr, nr, kstep;
  hone_cut cut_a, cut_b; /* when A, when B is the larger */
  int64_t a_bytes, b_bytes; /* of one packed number */
  /* Packs as many panels as the vectors need; a panel begins `panel_bytes` after the one before. */
  void (*pack_a)(char *out, int64_t panel_bytes, const hone_vectors *vectors);
  void (*pack_b)(char *out, int64_t panel_bytes, const hone_vectors *vectors);
  /*
   * C (mr x nr) += or = A B over k (a multiple of kstep). It may leave out what lies beyond rows x columns, or may
   * write it: C then has room for it. `ahead`: memory that will be read soon, HONE_AHEAD_LINES for each kstep.
   */
  void (*tile)(int64_t k, const char *a, const char *b, float *c, int64_t ldc, int accumulate, int64_t rows,
               int64_t columns, const char *ahead);
  void (*enter)(void); /* before a thread's first tile of a call, and after its last */
  void (*leave)(void);
} hone_tile;

extern const hone_tile hone_tile_scalar;
/* The same where B is bf16. */
extern const hone_tile hone_tile_scalar_bf16;
#if defined(__x86_64__)
extern const hone_tile hone_tile_avx2, hone_tile_avx512, hone_tile_amx;
extern const hone_tile hone_tile_avx2_bf16, hone_tile_avx512_bf16;
/* On AMX there is one for B's columns side by side and one for B transposed. */
extern const hone_tile hone_tile_amx_bf16_columns, hone_tile_amx_bf16_rows;
#endif

static inline float hone_float_of_bf16(uint16_t bits) {
  const union {
    uint32_t bits;
    float number;
  } wide = {(uint32_t)bits << 16};
  return wide.number;
}

/* Products with few rows or columns (decoding, thin adapters). Answers 0 when it does not know the case. */
int hone_gemm_few_rows(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                       int trans_a, const void *b, int b_is_bf16, int64_t ldb, int trans_b, float beta,
                       const float *bias, float *c, int64_t ldc);

/* Whether it knows the case. */
int hone_is_few_rows(const hone_pool *pool, int64_t m, int64_t n, int64_t k, int trans_a, int b_is_bf16, int trans_b);

#if defined(__x86_64__)
/* A W^T for few rows, each summed alike whatever their number. Answers 0 when it has no memory. */
int hone_gemm_rows_avx512(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                          const void *w, int is_bf16, int64_t ldw, float beta, const float *bias, float *c, int64_t ldc);
#endif

#endif
