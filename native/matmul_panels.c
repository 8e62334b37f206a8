/*
 * y = x w^T + c for decoding, with w packed beforehand: 32 rows of w are a panel, in which they lie turned, [k][32], one
 * stretch of memory that is read from its beginning to its end. So w comes as fast as memory gives it, and nothing is
 * turned or added up across lanes. Every number of y is the sum over k in order, so a row does not depend on how many
 * there are.
 */
#include "hone.h"

#define COLUMNS HONE_PANEL_COLUMNS
/* Of k, how much all rows go through at once: stays in the second cache. */
#define CHUNK 512
/* Rows whose sums fit the stack. */
#define MOST_ROWS 64
/* So many rows of a panel are asked for ahead. */
#define AHEAD 64
/* Fewer multiplications than this are not worth a second body of the pool. */
#define LEAST_WORK 100000

#define HONE_KERNELS "matmul_panels.kernels.h"
#include "each_isa.h"
#if defined(__x86_64__)
#include "transpose16.h"
#endif

typedef struct {
  int64_t m, n, k;
  const float *x, *panels, *c;
  int64_t c_step;
  float *y;
  int64_t panels_per_unit;
  void (*panel)(const float *, int64_t, int64_t, int64_t, const float *, float *);
} panels_run;

typedef struct {
  int64_t n, k;
  const float *w;
  float *panels;
} pack_run;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void multiply_panel(const panels_run *run, int64_t panel, int64_t row, int64_t rows) {
  float sums[MOST_ROWS * COLUMNS] __attribute__((aligned(64)));
  const float *packed = run->panels + panel * COLUMNS * run->k;
  for (int64_t i = 0; i < rows * COLUMNS; i++) sums[i] = 0.0f;
  for (int64_t k = 0; k < run->k; k += CHUNK)
    run->panel(run->x + row * run->k + k, run->k, rows, smaller(CHUNK, run->k - k), packed + k * COLUMNS, sums);
  const int64_t first = panel * COLUMNS, columns = smaller(COLUMNS, run->n - first);
  for (int64_t r = 0; r < rows; r++) {
    float *y = run->y + (row + r) * run->n + first;
    const float *c = run->c == NULL ? NULL : run->c + (row + r) * run->c_step + first;
    for (int64_t j = 0; j < columns; j++) y[j] = c == NULL ? sums[r * COLUMNS + j] : sums[r * COLUMNS + j] + c[j];
  }
}

static void multiply_unit(void *arg, int64_t index) {
  const panels_run *run = arg;
  const int64_t panels = (run->n + COLUMNS - 1) / COLUMNS, end = smaller((index + 1) * run->panels_per_unit, panels);
  for (int64_t panel = index * run->panels_per_unit; panel < end; panel++)
    for (int64_t row = 0; row < run->m; row += MOST_ROWS)
      multiply_panel(run, panel, row, smaller(MOST_ROWS, run->m - row));
}

hone_status hone_matmul_panels(hone_pool *pool, int64_t m, int64_t n, int64_t k, const float *x, const float *panels,
                               const float *c, int64_t c_step, float *y) {
  if (m <= 0 || n <= 0) return HONE_OK;
  panels_run run = {m, n, k, x, panels, c, c_step, y, 0, HONE_BEST(panel)};
  const int64_t count = (n + COLUMNS - 1) / COLUMNS, threads = pool->threads < 1 ? 1 : pool->threads;
  int64_t units = smaller(m * n * k / LEAST_WORK, 8 * threads);
  /* One row reads w once, which one thread does not do fast enough. */
  if (n * k > LEAST_WORK && units < 2 * threads) units = 2 * threads;
  if (units < 1 || threads == 1) units = 1;
  run.panels_per_unit = (count + units - 1) / units;
  units = (count + run.panels_per_unit - 1) / run.panels_per_unit;
  if (units == 1) multiply_unit(&run, 0);
  else pool->run(pool, units, multiply_unit, &run);
  return HONE_OK;
}

/* out[l][j] = w[j][l] for l < length and j < 16; zeros from row `rows` on. */
static void turn(const float *w, int64_t ldw, int64_t rows, int64_t length, float *out) {
  for (int64_t l = 0; l < length; l++)
    for (int64_t j = 0; j < 16; j++) out[l * COLUMNS + j] = j < rows ? w[j * ldw + l] : 0.0f;
}

#if defined(__x86_64__)
/* A whole square, in registers. */
HONE_TARGET_AVX512 static void turn_square(const float *w, int64_t ldw, float *out) {
  __m512i square[16];
#pragma GCC unroll 16
  for (int64_t j = 0; j < 16; j++) square[j] = _mm512_loadu_si512(w + j * ldw);
  transpose16(square);
#pragma GCC unroll 16
  for (int64_t l = 0; l < 16; l++) _mm512_storeu_si512(out + l * COLUMNS, square[l]);
}
#endif

/* By squares of 16: what is read and what is written both stay in the first cache. */
static void pack_unit(void *arg, int64_t panel) {
  const pack_run *run = arg;
  for (int64_t j = 0; j < COLUMNS; j += 16) {
    const int64_t first = panel * COLUMNS + j, rows = run->n - first;
    for (int64_t k = 0; k < run->k; k += 16) {
      const float *w = run->w + first * run->k + k;
      float *out = run->panels + panel * COLUMNS * run->k + k * COLUMNS + j;
#if defined(__x86_64__)
      if (rows >= 16 && run->k - k >= 16 && hone_cpu_isa() >= HONE_ISA_AVX512) {
        turn_square(w, run->k, out);
        continue;
      }
#endif
      turn(w, run->k, rows, smaller(16, run->k - k), out);
    }
  }
}

hone_status hone_pack_panels(hone_pool *pool, int64_t n, int64_t k, const float *w, float *panels) {
  pack_run run = {n, k, w, panels};
  pool->run(pool, (n + COLUMNS - 1) / COLUMNS, pack_unit, &run);
  return HONE_OK;
}
