/*
 * C = alpha A W^T + beta C + bias on AMX for a pool that is batch invariant: a row of C is summed in one order, however many
 * rows there are. W is taken as it lies, row by row, split and multiplied at once; so the product comes out transposed, and is
 * turned as it is stored. For many rows: with few, splitting W costs more than multiplying.
 */
#include "matmul.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdatomic.h>

#include "transpose16.h"

#define SIDE 32
/* Of packed rows of A, so that they stay in the second cache beside a panel of W. */
#define MOST_PACKED ((int64_t)768 << 10)
/* Below this many multiplications another thread is not worth waking. */
#define LEAST_WORK 200000

typedef struct {
  int64_t rows, n, k, padded_k;
  float alpha, beta;
  const float *a;
  int64_t lda;
  const char *w;
  int64_t ldw;
  int is_bf16;
  const float *bias;
  float *c;
  int64_t ldc;
  const hone_tile *tile;
  char *packed; /* rows of A, in panels of SIDE */
  int64_t packed_panel, w_panel; /* bytes */
  int64_t panels_per_unit;
  atomic_int failed;
} rows_run;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void pack_rows(void *arg, int64_t panel) {
  const rows_run *run = arg;
  const int64_t first = panel * SIDE;
  const hone_vectors vectors = {run->a + first * run->lda, run->lda, 1, smaller(SIDE, run->rows - first), run->k, run->alpha};
  char *out = run->packed + panel * run->packed_panel;
  /* Of the two operands, W's rows go where the tile wants rows as they lie. */
  if (run->is_bf16) run->tile->pack_a(out, run->packed_panel, &vectors);
  else run->tile->pack_b(out, run->packed_panel, &vectors);
}

/* 16 columns of C for one row: what was there, the sum, the bias. */
HONE_TARGET_AVX512 static inline __attribute__((always_inline)) void put(const rows_run *run, int64_t row, int64_t column,
                                                                         __mmask16 some, __m512 sum) {
  float *to = run->c + row * run->ldc + column;
  if (run->beta != 0.0f) sum = _mm512_fmadd_ps(_mm512_set1_ps(run->beta), _mm512_maskz_loadu_ps(some, to), sum);
  if (run->bias != NULL) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(some, run->bias + column));
  _mm512_mask_storeu_ps(to, some, sum);
}

/* A block of sums, [column of C][row] or, turned, [row][column], into C. */
HONE_TARGET_AVX512 static void put_block(const rows_run *run, const float *sums, int is_turned, int64_t first_row,
                                         int64_t first_column) {
  const int64_t rows = smaller(SIDE, run->rows - first_row), columns = smaller(SIDE, run->n - first_column);
  for (int64_t j = 0; j < columns; j += 16) {
    const __mmask16 some = columns - j >= 16 ? 0xffff : (__mmask16)((1u << (columns - j)) - 1);
    for (int64_t i = 0; i < rows; i += 16) {
      __m512i square[16];
      for (int64_t at = 0; at < 16; at++)
        square[at] = _mm512_load_si512(is_turned ? sums + SIDE * (i + at) + j : sums + SIDE * (j + at) + i);
      if (!is_turned) transpose16(square);
      for (int64_t at = 0; at < 16 && i + at < rows; at++)
        put(run, first_row + i + at, first_column + j, some, _mm512_castsi512_ps(square[at]));
    }
  }
}

static void multiply_unit(void *arg, int64_t unit) {
  rows_run *run = arg;
  char *panel = hone_take((size_t)run->w_panel);
  if (panel == NULL) {
    atomic_store(&run->failed, 1);
    return;
  }
  const int64_t item = run->is_bf16 ? sizeof(uint16_t) : sizeof(float);
  const int64_t end = smaller((unit + 1) * run->panels_per_unit * SIDE, run->n);
  float sums[SIDE * SIDE] __attribute__((aligned(64)));
  run->tile->enter();
  for (int64_t column = unit * run->panels_per_unit * SIDE; column < end; column += SIDE) {
    const int64_t columns = smaller(SIDE, run->n - column);
    const hone_vectors w = {run->w + column * run->ldw * item, run->ldw, 1, columns, run->k, 1.0f};
    if (run->is_bf16) run->tile->pack_b(panel, run->w_panel, &w);
    else run->tile->pack_a(panel, run->w_panel, &w);
    for (int64_t row = 0; row < run->rows; row += SIDE) {
      const int64_t rows = smaller(SIDE, run->rows - row);
      const char *packed = run->packed + row / SIDE * run->packed_panel;
      if (run->is_bf16) run->tile->tile(run->padded_k, packed, panel, sums, SIDE, 0, rows, columns, packed);
      else run->tile->tile(run->padded_k, panel, packed, sums, SIDE, 0, columns, rows, packed);
      put_block(run, sums, run->is_bf16, row, column);
    }
  }
  run->tile->leave();
  hone_give(panel);
}

int hone_gemm_rows_amx(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                       const void *w, int is_bf16, int64_t ldw, float beta, const float *bias, float *c, int64_t ldc) {
  const hone_tile *tile = is_bf16 ? &hone_tile_amx_bf16_rows : &hone_tile_amx;
  rows_run run = {.n = n, .k = k, .padded_k = (k + 31) / 32 * 32, .alpha = alpha, .beta = beta, .lda = lda, .w = w,
                  .ldw = ldw, .is_bf16 = is_bf16, .bias = bias, .ldc = ldc, .tile = tile};
  run.packed_panel = run.padded_k * SIDE * tile->a_bytes; /* of three parts, whichever operand it is */
  run.w_panel = run.padded_k * SIDE * tile->b_bytes;
  int64_t most = MOST_PACKED / run.packed_panel;
  if (most < 1) most = 1;
  const int64_t panels = (m + SIDE - 1) / SIDE;
  run.packed = hone_take((size_t)(smaller(panels, most) * run.packed_panel));
  if (run.packed == NULL) return 0;
  const int64_t threads = pool->threads < 1 ? 1 : pool->threads, w_panels = (n + SIDE - 1) / SIDE;
  for (int64_t first = 0; first < panels; first += most) {
    const int64_t now = smaller(most, panels - first);
    run.a = a + first * SIDE * lda;
    run.c = c + first * SIDE * ldc;
    run.rows = smaller(now * SIDE, m - first * SIDE);
    if (now == 1) pack_rows(&run, 0);
    else pool->run(pool, now, pack_rows, &run);
    int64_t units = smaller(w_panels, 8 * threads);
    if (threads == 1 || run.rows * n * k < LEAST_WORK) units = 1;
    run.panels_per_unit = (w_panels + units - 1) / units;
    units = (w_panels + run.panels_per_unit - 1) / run.panels_per_unit;
    if (units == 1) multiply_unit(&run, 0);
    else pool->run(pool, units, multiply_unit, &run);
  }
  hone_give(run.packed);
  /* A body without memory leaves holes in C; what was added to it cannot be told from what was not. */
  if (atomic_load(&run.failed)) __builtin_trap();
  return 1;
}
#endif
