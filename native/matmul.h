/*
 * Inside of the matrix multiply: what an instruction set brings (a "tile"), and the driver that uses it (matmul.c).
 *
 * A tile computes mr x nr numbers of C from two packed panels: mr rows of A, nr columns of B, all of k. Panels are
 * packed whole before use, in units of kstep along k, padded with zeros.
 */
#ifndef HONE_MATMUL_H
#define HONE_MATMUL_H

#include "hone.h"

/* Where op(X) lies: a panel's vectors (rows of A, columns of B) and k, and which of the two is contiguous. */
typedef struct {
  const float *data; /* of the panel's first vector, at k = 0 */
  int64_t ld;        /* row length as stored */
  int k_contiguous;  /* A as is, B transposed: numbers of one vector lie side by side */
  int64_t vectors;   /* how many of the panel's are there; the rest is padding */
  int64_t k;
  float scale;
} hone_panel;

typedef struct {
  int64_t mr, nr, kstep;
  int64_t kc;                /* how much of k a tile takes at once: so that a panel of B stays in the first cache */
  int64_t bytes;             /* of one packed number */
  void (*pack_a)(void *out, const hone_panel *panel);
  void (*pack_b)(void *out, const hone_panel *panel);
  /* C (mr x nr) += or = A B over k (a multiple of kstep); rows, columns: how much of the tile is wanted. */
  void (*tile)(int64_t k, const void *a, const void *b, float *c, int64_t ldc, int accumulate);
  void (*enter)(void); /* before a thread's first tile of a call, and after its last */
  void (*leave)(void);
} hone_tile;

extern const hone_tile hone_tile_scalar;
#if defined(__x86_64__)
extern const hone_tile hone_tile_avx2, hone_tile_avx512, hone_tile_amx;
#endif

/*
 * Products with few rows (decoding, thin adapters), where packing would cost more than multiplying.
 * Answers 0 when it does not know the case.
 */
int hone_gemm_few_rows(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                       int trans_a, const float *b, int64_t ldb, int trans_b, float beta, const float *bias, float *c,
                       int64_t ldc);

#endif
