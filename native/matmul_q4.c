/*
 * Product with a matrix kept in 4 bits. Many rows of x: a panel of W at a time becomes floats in scratch memory and goes
 * through hone_gemm, so the whole of W never exists in floats. Few rows (decoding): dot products straight from the nibbles,
 * at the speed at which the packed matrix can be read.
 */
#include "hone.h"

typedef struct hone_q4 {
  int64_t n_out, k_in, block;
  const uint8_t *packed, *zeros;
  const float *scales;
} hone_q4;

#define HONE_KERNELS "matmul_q4.kernels.h"
#include "each_isa.h"

#define PANEL_NUMBERS ((int64_t)2 << 20)
#define FEW_ROWS 16
#define COLUMNS_PER_UNIT 64
#define ROWS_PER_UNIT 16

typedef struct {
  hone_q4 w;
  int64_t m, first, rows; /* first, rows: of the panel */
  float *panel, *x_even, *x_odd, *y;
  void (*row)(const hone_q4 *, int64_t, float *);
  void (*columns)(const hone_q4 *, int64_t, int64_t, int64_t, const float *, const float *, float *);
} q4_run;

static void panel_unit(void *arg, int64_t unit) {
  const q4_run *run = arg;
  const int64_t end = (unit + 1) * ROWS_PER_UNIT < run->rows ? (unit + 1) * ROWS_PER_UNIT : run->rows;
  for (int64_t r = unit * ROWS_PER_UNIT; r < end; r++) run->row(&run->w, run->first + r, run->panel + r * run->w.k_in);
}

static void columns_unit(void *arg, int64_t unit) {
  const q4_run *run = arg;
  const int64_t from = unit * COLUMNS_PER_UNIT, to = from + COLUMNS_PER_UNIT;
  run->columns(&run->w, from, to < run->w.n_out ? to : run->w.n_out, run->m, run->x_even, run->x_odd, run->y);
}

static hone_status few_rows(hone_pool *pool, q4_run *run, const float *x) {
  const int64_t half = run->w.k_in / 2;
  run->x_even = hone_take((size_t)(2 * run->m * half) * sizeof(float));
  if (run->x_even == NULL) return HONE_NO_MEMORY;
  run->x_odd = run->x_even + run->m * half;
  for (int64_t i = 0; i < run->m * half; i++) {
    run->x_even[i] = x[2 * i];
    run->x_odd[i] = x[2 * i + 1];
  }
  pool->run(pool, (run->w.n_out + COLUMNS_PER_UNIT - 1) / COLUMNS_PER_UNIT, columns_unit, run);
  hone_give(run->x_even);
  return HONE_OK;
}

hone_status hone_matmul_q4(hone_pool *pool, int64_t m, int64_t n_out, int64_t k_in, int64_t block, int transposed,
                           const float *x, const uint8_t *packed, const float *scales, const uint8_t *zeros, float *y) {
  if (m < 0 || n_out <= 0 || k_in <= 0 || block <= 0 || block % 16 != 0 || k_in % block != 0) return HONE_BAD_SHAPE;
  q4_run run = {
      .w = {.n_out = n_out, .k_in = k_in, .block = block, .packed = packed, .zeros = zeros, .scales = scales},
      .m = m,
      .y = y,
      .row = HONE_BEST(q4_row),
      .columns = HONE_BEST(q4_columns),
  };
  if (m == 0) return HONE_OK;
  if (!transposed && (pool->batch_invariant ? pool->batch_invariant == HONE_FEW_ROWS : m <= FEW_ROWS) && block % 32 == 0) return few_rows(pool, &run, x);
  int64_t rows = PANEL_NUMBERS / k_in / 64 * 64;
  if (rows < 64) rows = 64;
  if (rows > n_out) rows = n_out;
  run.panel = hone_take((size_t)(rows * k_in) * sizeof(float));
  if (run.panel == NULL) return HONE_NO_MEMORY;
  for (run.first = 0; run.first < n_out; run.first += rows) {
    run.rows = n_out - run.first < rows ? n_out - run.first : rows;
    pool->run(pool, (run.rows + ROWS_PER_UNIT - 1) / ROWS_PER_UNIT, panel_unit, &run);
    if (transposed)
      hone_gemm(pool, m, k_in, run.rows, 1, x + run.first, n_out, 0, run.panel, k_in, 0, run.first > 0 ? 1 : 0, y, k_in);
    else
      hone_gemm(pool, m, run.rows, k_in, 1, x, k_in, 0, run.panel, k_in, 1, 0, y + run.first, n_out);
  }
  hone_give(run.panel);
  return HONE_OK;
}
