/*
 * Products where one operand has few vectors (rows of A or columns of B): decoding, thin adapters. Nothing of the larger
 * operand is packed; each of its numbers is read once for every four vectors of the smaller. And all products of a pool
 * that is batch invariant, with any number of rows.
 */
#include <string.h>

#include "matmul.h"

/* Above these, packing pays. */
#define MOST_DOTS 16
#define MOST_STRIPS 8
/* With the larger operand in bf16 AMX hardly has to pack, and wins earlier. */
#define MOST_DOTS_BESIDE_AMX 8
/* Shorter sums are mostly the work of adding up lanes. */
#define LEAST_K 64
/* Of the larger operand, how many vectors all rows go through at once. */
#define STRIP 64
/* Fewer multiplications than this are not worth a second body of the pool. */
#define LEAST_WORK 200000

typedef struct few_rows {
  int64_t few, many, k;
  const float *small; /* [few, k], alpha in it */
  const void *large; /* float32, or bf16 where `part` says so */
  int64_t large_ld;
  float beta;
  const float *bias; /* one number for each of `few` or of `many` */
  int64_t few_bias_step, many_bias_step;
  float *c;
  int64_t few_step, many_step; /* in C */
  int64_t unit;                /* of `many`, for one body */
  void (*part)(const struct few_rows *, int64_t from, int64_t to);
} few_rows;

static inline void put(const few_rows *w, int64_t i, int64_t j, float sum) {
  float *c = w->c + i * w->few_step + j * w->many_step;
  if (w->beta != 0.0f) sum += w->beta * *c;
  if (w->bias != NULL) sum += w->bias[i * w->few_bias_step + j * w->many_bias_step];
  *c = sum;
}

/* Four of `many` for one of `few`. */
static inline void put4(const few_rows *w, int64_t i, int64_t j, const float *sums) {
  if (w->beta == 0.0f && w->bias == NULL && w->many_step == 1) {
    memcpy(w->c + i * w->few_step + j, sums, 4 * sizeof(float));
    return;
  }
  for (int64_t q = 0; q < 4; q++) put(w, i, j + q, sums[q]);
}

#define HONE_KERNELS "matmul_few_rows.kernels.h"
#include "each_isa.h"

static void unit(void *arg, int64_t index) {
  const few_rows *w = arg;
  const int64_t end = (index + 1) * w->unit < w->many ? (index + 1) * w->unit : w->many;
  if (w->few <= MOST_DOTS) {
    w->part(w, index * w->unit, end);
    return;
  }
  /* Rows by the sixteen, for which a strip of the larger operand stays in the second cache. */
  for (int64_t from = index * w->unit; from < end; from += STRIP)
    for (int64_t row = 0; row < w->few; row += MOST_DOTS) {
      few_rows some = *w;
      some.few = w->few - row < MOST_DOTS ? w->few - row : MOST_DOTS;
      some.small = w->small + row * w->k;
      some.c = w->c + row * w->few_step;
      some.part(&some, from, from + STRIP < end ? from + STRIP : end);
    }
}

/* The smaller operand as [few, k], multiplied by alpha. */
static void copy_small(float *out, const void *x, int is_bf16, int64_t few, int64_t k, int64_t step, int64_t k_step,
                       float alpha) {
  const float *numbers = x;
  const uint16_t *halves = x;
  for (int64_t i = 0; i < few; i++)
    for (int64_t l = 0; l < k; l++) {
      const int64_t at = i * step + l * k_step;
      out[i * k + l] = alpha * (is_bf16 ? hone_float_of_bf16(halves[at]) : numbers[at]);
    }
}

/* By dot products of rows, by strips of B, or by dot products of columns. */
typedef enum { NOT_FEW, ROWS, STRIPS, COLUMNS } few_kind;

static few_kind kind_of(const hone_pool *pool, int64_t m, int64_t n, int64_t k, int trans_a, int b_is_bf16, int trans_b) {
  /* Dot products of rows are summed in one order, however many rows there are. */
  const int invariant = pool->batch_invariant && trans_b && !trans_a;
  if (invariant) return ROWS;
  if (k < LEAST_K) return NOT_FEW;
  const int most_dots = b_is_bf16 && hone_cpu_isa() == HONE_ISA_AMX ? MOST_DOTS_BESIDE_AMX : MOST_DOTS;
  if (m <= most_dots && trans_b) return ROWS;
  if (m <= MOST_STRIPS && !trans_b) return STRIPS;
  return n <= MOST_DOTS && !trans_a ? COLUMNS : NOT_FEW;
}

int hone_is_few_rows(const hone_pool *pool, int64_t m, int64_t n, int64_t k, int trans_a, int b_is_bf16, int trans_b) {
  return kind_of(pool, m, n, k, trans_a, b_is_bf16, trans_b) != NOT_FEW;
}

int hone_gemm_few_rows(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                       int trans_a, const void *b, int b_is_bf16, int64_t ldb, int trans_b, float beta,
                       const float *bias, float *c, int64_t ldc) {
  const few_kind kind = kind_of(pool, m, n, k, trans_a, b_is_bf16, trans_b);
  if (kind == NOT_FEW) return 0;
  const int rows = kind != COLUMNS, large_is_bf16 = rows && b_is_bf16;
  few_rows w = {.few = rows ? m : n,
                .many = rows ? n : m,
                .k = k,
                .large = rows ? b : (const void *)a,
                .large_ld = rows ? ldb : lda,
                .beta = beta,
                .bias = bias,
                .few_bias_step = !rows,
                .many_bias_step = rows,
                .c = c,
                .few_step = rows ? ldc : 1,
                .many_step = rows ? 1 : ldc,
                .part = kind == STRIPS ? (large_is_bf16 ? HONE_BEST(few_strips_bf16) : HONE_BEST(few_strips))
                                       : (large_is_bf16 ? HONE_BEST(few_dots_bf16) : HONE_BEST(few_dots))};
  float *small = hone_take((size_t)(w.few * k) * sizeof(float));
  if (small == NULL) return 0;
  if (rows) copy_small(small, a, 0, m, k, trans_a ? 1 : lda, trans_a ? lda : 1, alpha);
  else copy_small(small, b, b_is_bf16, n, k, trans_b ? ldb : 1, trans_b ? 1 : ldb, alpha);
  w.small = small;

  const int64_t work = m * n * k, threads = pool->threads < 1 ? 1 : pool->threads;
  int64_t units = work / LEAST_WORK;
  if (units > 4 * threads) units = 4 * threads;
  if (units < 1 || threads == 1) units = 1;
  /* Whole strips, so that a strip is not cut in two. */
  w.unit = ((w.many + units - 1) / units + 63) / 64 * 64;
  units = (w.many + w.unit - 1) / w.unit;
  if (units == 1) unit(&w, 0);
  else pool->run(pool, units, unit, &w);
  hone_give(small);
  return 1;
}
