/*
 * C = alpha A W^T + beta C + bias for few rows on AVX-512: decoding. W's rows are turned as they are read, so that 32 columns
 * of C lie side by side and nothing is added up across lanes. Every number of C is the sum over k in order, so a row does
 * not depend on how many there are.
 */
#include "matmul.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdatomic.h>

#include "transpose16.h"

#define COLUMNS 32
/* Turned numbers of W that stay in the first cache: this much of k, COLUMNS wide. */
#define CHUNK 128
#define USUAL_ROWS 64
/* Fewer multiplications than this are not worth a second body of the pool. */
#define LEAST_WORK 100000

typedef struct {
  int64_t m, n, k;
  const float *a;
  int64_t lda;
  const void *w;
  int is_bf16;
  int64_t ldw;
  float beta;
  const float *bias;
  float *c;
  int64_t ldc;
  int64_t blocks_per_unit;
  atomic_int failed;
} rows_run;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? 0xffff : count > 0 ? (__mmask16)((1u << count) - 1) : 0;
}

HONE_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i load(const rows_run *run, int64_t at,
                                                                             __mmask16 lanes, const int is_bf16) {
  if (!is_bf16) return _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, (const float *)run->w + at));
  return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, (const uint16_t *)run->w + at)), 16);
}

/* turned[l][j] = w[column + j][k + l] for l < length, j < COLUMNS; zeros beyond the last row of W. */
HONE_TARGET_AVX512 static inline __attribute__((always_inline)) void turn(const rows_run *run, int64_t column, int64_t k,
                                                                          int64_t length, float *turned, const int is_bf16) {
  for (int64_t j = 0; j < COLUMNS; j += 16) {
    const int64_t there = run->n - column - j, first = (column + j) * run->ldw + k;
    for (int64_t l = 0; l < length; l += 16) {
      float *to = turned + l * COLUMNS + j;
      __m512i square[16];
      if (there >= 16 && length - l >= 16) {
#pragma GCC unroll 16
        for (int64_t i = 0; i < 16; i++) square[i] = load(run, first + i * run->ldw + l, 0xffff, is_bf16);
        transpose16(square);
#pragma GCC unroll 16
        for (int64_t i = 0; i < 16; i++) _mm512_store_si512(to + i * COLUMNS, square[i]);
        continue;
      }
      for (int64_t i = 0; i < 16; i++)
        square[i] = i < there ? load(run, first + i * run->ldw + l, first_lanes(length - l), is_bf16) : _mm512_setzero_si512();
      transpose16(square);
      for (int64_t i = 0; i < 16 && l + i < length; i++) _mm512_store_si512(to + i * COLUMNS, square[i]);
    }
  }
}

/* sums[r][.] += a[r][k ..] turned, for `rows` rows. */
HONE_TARGET_AVX512 static inline __attribute__((always_inline)) void multiply(const float *a, int64_t lda, int64_t length,
                                                                              const float *turned, float *sums,
                                                                              const int rows) {
  __m512 low[8], high[8];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) {
    low[r] = _mm512_load_ps(sums + r * COLUMNS);
    high[r] = _mm512_load_ps(sums + r * COLUMNS + 16);
  }
  for (int64_t l = 0; l < length; l++) {
    const __m512 b0 = _mm512_load_ps(turned + l * COLUMNS), b1 = _mm512_load_ps(turned + l * COLUMNS + 16);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const __m512 x = _mm512_set1_ps(a[r * lda + l]);
      low[r] = _mm512_fmadd_ps(x, b0, low[r]);
      high[r] = _mm512_fmadd_ps(x, b1, high[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) {
    _mm512_store_ps(sums + r * COLUMNS, low[r]);
    _mm512_store_ps(sums + r * COLUMNS + 16, high[r]);
  }
}

HONE_TARGET_AVX512 static void multiply_rows(const rows_run *run, int64_t k, int64_t length, const float *turned,
                                             float *sums) {
  const float *a = run->a + k;
  int64_t row = 0;
  for (; row + 8 <= run->m; row += 8) multiply(a + row * run->lda, run->lda, length, turned, sums + row * COLUMNS, 8);
  for (; row + 4 <= run->m; row += 4) multiply(a + row * run->lda, run->lda, length, turned, sums + row * COLUMNS, 4);
  for (; row + 2 <= run->m; row += 2) multiply(a + row * run->lda, run->lda, length, turned, sums + row * COLUMNS, 2);
  if (row < run->m) multiply(a + row * run->lda, run->lda, length, turned, sums + row * COLUMNS, 1);
}

HONE_TARGET_AVX512 static void put(const rows_run *run, int64_t column, const float *sums) {
  for (int64_t j = 0; j < COLUMNS && column + j < run->n; j += 16) {
    const __mmask16 some = first_lanes(run->n - column - j);
    const __m512 bias = run->bias == NULL ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(some, run->bias + column + j);
    for (int64_t row = 0; row < run->m; row++) {
      float *to = run->c + row * run->ldc + column + j;
      __m512 sum = _mm512_add_ps(_mm512_load_ps(sums + row * COLUMNS + j), bias);
      if (run->beta != 0.0f) sum = _mm512_fmadd_ps(_mm512_set1_ps(run->beta), _mm512_maskz_loadu_ps(some, to), sum);
      _mm512_mask_storeu_ps(to, some, sum);
    }
  }
}

HONE_TARGET_AVX512 static void unit(void *arg, int64_t index) {
  rows_run *run = arg;
  const int64_t sums_size = run->m * COLUMNS;
  /* On the stack where it fits: bodies are short, and would wait for each other at the lock of temporary memory. */
  float turned[CHUNK * COLUMNS] __attribute__((aligned(64))), own[USUAL_ROWS * COLUMNS] __attribute__((aligned(64)));
  float *sums = run->m <= USUAL_ROWS ? own : hone_take((size_t)sums_size * sizeof(float));
  if (sums == NULL) {
    atomic_store(&run->failed, 1);
    return;
  }
  const int64_t end = smaller((index + 1) * run->blocks_per_unit * COLUMNS, run->n);
  for (int64_t column = index * run->blocks_per_unit * COLUMNS; column < end; column += COLUMNS) {
    for (int64_t i = 0; i < sums_size; i += 16) _mm512_store_ps(sums + i, _mm512_setzero_ps());
    for (int64_t k = 0; k < run->k; k += CHUNK) {
      const int64_t length = smaller(CHUNK, run->k - k);
      if (run->is_bf16) turn(run, column, k, length, turned, 1);
      else turn(run, column, k, length, turned, 0);
      multiply_rows(run, k, length, turned, sums);
    }
    put(run, column, sums);
  }
  if (sums != own) hone_give(sums);
}

int hone_gemm_rows_avx512(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                          const void *w, int is_bf16, int64_t ldw, float beta, const float *bias, float *c, int64_t ldc) {
  float *scaled = NULL;
  if (alpha != 1.0f) {
    scaled = hone_take((size_t)(m * k) * sizeof(float));
    if (scaled == NULL) return 0;
    for (int64_t i = 0; i < m; i++)
      for (int64_t l = 0; l < k; l++) scaled[i * k + l] = alpha * a[i * lda + l];
  }
  rows_run run = {.m = m, .n = n, .k = k, .a = scaled == NULL ? a : scaled, .lda = scaled == NULL ? lda : k, .w = w,
                  .is_bf16 = is_bf16, .ldw = ldw, .beta = beta, .bias = bias, .c = c, .ldc = ldc};
  const int64_t blocks = (n + COLUMNS - 1) / COLUMNS, threads = pool->threads < 1 ? 1 : pool->threads;
  int64_t units = smaller(m * n * k / LEAST_WORK, 8 * threads);
  /* One row reads W once, which one thread does not do fast enough. */
  if (n * k > LEAST_WORK && units < 2 * threads) units = 2 * threads;
  if (units < 1 || threads == 1) units = 1;
  if (units > blocks) units = blocks;
  run.blocks_per_unit = (blocks + units - 1) / units;
  units = (blocks + run.blocks_per_unit - 1) / run.blocks_per_unit;
  if (units == 1) unit(&run, 0);
  else pool->run(pool, units, unit, &run);
  hone_give(scaled);
  /* Holes in C cannot be told from what is there. */
  if (atomic_load(&run.failed)) __builtin_trap();
  return 1;
}
#endif
