/*
 * The matrix multiply's driver: which tile, how the work is cut, who does it.
 *
 * One run of the pool per chunk, one body per thread. Bodies first claim panels to pack, wait until every claimed
 * panel is done, then claim blocks of C. So panels are packed once and shared, and a thread that starts late, or is
 * taken away, costs no more than its share. A block of C is always summed in the same order, whoever claims it.
 */
#include <sched.h>
#include <string.h>

#include "matmul.h"

/* Packed memory of one operand at a time, in bytes: larger operands are taken in chunks. */
#define PACKED_LIMIT ((int64_t)24 << 20)
/* Rows and columns of a block of C: its packed operands for one kc lie in the second cache together. */
#define BLOCK_TARGET 256
#define BLOCK_LEAST 64

typedef struct {
  const hone_tile *tile;
  int64_t m, n, k;
  const float *a, *b;
  int64_t lda, ldb, ldc;
  int trans_a, trans_b;
  float alpha, beta;
  const float *bias;
  float *c;

  char *packed_a, *packed_b;
  int64_t panel_a, panel_b;     /* bytes of a panel */
  int64_t panels_a, panels_b;   /* how many */
  int64_t first_panel;          /* panels_a when A is already packed ... */
  int64_t last_panel;           /* panels of A come first, then B's */
  int64_t block_m, block_n;     /* panels of a block */
  int64_t blocks_m, blocks_n;

  int64_t next_panel, panels_done, next_block;
} chunk;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void pack_panel(const chunk *w, int64_t index) {
  const hone_tile *tile = w->tile;
  if (index < w->panels_a) {
    const int64_t row = index * tile->mr;
    const hone_panel panel = {w->a + (w->trans_a ? row : row * w->lda), w->lda, !w->trans_a,
                              smaller(tile->mr, w->m - row), w->k, w->alpha};
    tile->pack_a(w->packed_a + index * w->panel_a, &panel);
  } else {
    const int64_t column = (index - w->panels_a) * tile->nr;
    const hone_panel panel = {w->b + (w->trans_b ? column * w->ldb : column), w->ldb, w->trans_b,
                              smaller(tile->nr, w->n - column), w->k, 1.0f};
    tile->pack_b(w->packed_b + (index - w->panels_a) * w->panel_b, &panel);
  }
}

/* C = beta C + bias over rows x columns; answers whether the tiles must add to it. */
static int prepare_c(const chunk *w, float *c, int64_t column, int64_t rows, int64_t columns) {
  if (w->bias == NULL && w->beta == 0.0f) return 0;
  if (w->bias == NULL && w->beta == 1.0f) return 1;
  for (int64_t i = 0; i < rows; i++) {
    float *row = c + i * w->ldc;
    const float *bias = w->bias == NULL ? NULL : w->bias + column;
    if (w->beta == 0.0f)
      memcpy(row, bias, (size_t)columns * sizeof(float));
    else if (bias == NULL)
      for (int64_t j = 0; j < columns; j++) row[j] *= w->beta;
    else
      for (int64_t j = 0; j < columns; j++) row[j] = row[j] * w->beta + bias[j];
  }
  return 1;
}

/* A tile at the edge of C: computed whole, beside it. */
static void edge_tile(const chunk *w, int64_t k, const char *a, const char *b, float *c, int64_t rows,
                      int64_t columns, int accumulate) {
  float whole[32 * 32] __attribute__((aligned(64)));
  const int64_t nr = w->tile->nr;
  w->tile->tile(k, a, b, whole, nr, 0);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++)
      c[i * w->ldc + j] = accumulate ? c[i * w->ldc + j] + whole[i * nr + j] : whole[i * nr + j];
}

static void compute_block(const chunk *w, int64_t block) {
  const hone_tile *tile = w->tile;
  const int64_t first_a = block % w->blocks_m * w->block_m, last_a = smaller(first_a + w->block_m, w->panels_a);
  const int64_t first_b = block / w->blocks_m * w->block_n, last_b = smaller(first_b + w->block_n, w->panels_b);
  const int64_t padded_k = ceil_div(w->k, tile->kstep) * tile->kstep;
  for (int64_t k = 0; k < padded_k; k += tile->kc) {
    const int64_t length = smaller(tile->kc, padded_k - k);
    for (int64_t j = first_b; j < last_b; j++) {
      const int64_t column = j * tile->nr, columns = smaller(tile->nr, w->n - column);
      const char *b = w->packed_b + j * w->panel_b + k * tile->nr * tile->bytes;
      for (int64_t i = first_a; i < last_a; i++) {
        const int64_t row = i * tile->mr, rows = smaller(tile->mr, w->m - row);
        const char *a = w->packed_a + i * w->panel_a + k * tile->mr * tile->bytes;
        float *c = w->c + row * w->ldc + column;
        const int accumulate = k > 0 ? 1 : prepare_c(w, c, column, rows, columns);
        if (rows == tile->mr && columns == tile->nr)
          tile->tile(length, a, b, c, w->ldc, accumulate);
        else
          edge_tile(w, length, a, b, c, rows, columns, accumulate);
      }
    }
  }
}

static void body(void *arg, int64_t index) {
  (void)index;
  chunk *w = arg;
  for (;;) {
    const int64_t panel = __atomic_fetch_add(&w->next_panel, 1, __ATOMIC_RELAXED);
    if (panel >= w->last_panel) break;
    pack_panel(w, panel);
    __atomic_fetch_add(&w->panels_done, 1, __ATOMIC_RELEASE);
  }
  /* Every panel is done or in the hands of a body that has started: this wait ends. */
  for (int spins = 0; __atomic_load_n(&w->panels_done, __ATOMIC_ACQUIRE) < w->last_panel - w->first_panel;) {
    if (++spins > 2000) sched_yield();
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#endif
  }
  const int64_t blocks = w->blocks_m * w->blocks_n;
  int entered = 0;
  for (;;) {
    const int64_t block = __atomic_fetch_add(&w->next_block, 1, __ATOMIC_RELAXED);
    if (block >= blocks) break;
    if (!entered) w->tile->enter();
    entered = 1;
    compute_block(w, block);
  }
  if (entered) w->tile->leave();
}

/* Blocks as large as the caches like, but enough of them to share. Does not change any number of C. */
static void cut_blocks(chunk *w, int threads) {
  int64_t rows = BLOCK_TARGET, columns = BLOCK_TARGET;
  for (;;) {
    w->block_m = ceil_div(rows, w->tile->mr);
    w->block_n = ceil_div(columns, w->tile->nr);
    w->blocks_m = ceil_div(w->panels_a, w->block_m);
    w->blocks_n = ceil_div(w->panels_b, w->block_n);
    if (w->blocks_m * w->blocks_n >= 6 * (int64_t)threads || threads == 1) break;
    if (columns >= rows && columns > BLOCK_LEAST) columns /= 2;
    else if (rows > BLOCK_LEAST) rows /= 2;
    else break;
  }
  /* Even blocks: no thin one at the end. */
  w->block_m = ceil_div(w->panels_a, w->blocks_m);
  w->block_n = ceil_div(w->panels_b, w->blocks_n);
  w->blocks_m = ceil_div(w->panels_a, w->block_m);
  w->blocks_n = ceil_div(w->panels_b, w->block_n);
}

static const hone_tile *best_tile(void) {
#if defined(__x86_64__)
  switch (hone_cpu_isa()) {
    case HONE_ISA_AMX: return &hone_tile_amx;
    case HONE_ISA_AVX512: return &hone_tile_avx512;
    case HONE_ISA_AVX2: return &hone_tile_avx2;
    default: break;
  }
#endif
  return &hone_tile_scalar;
}

/* k = 0 or alpha = 0: nothing to multiply. */
static void only_beta(int64_t m, int64_t n, float beta, const float *bias, float *c, int64_t ldc) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++)
      c[i * ldc + j] = (beta == 0.0f ? 0.0f : beta * c[i * ldc + j]) + (bias == NULL ? 0.0f : bias[j]);
}

void hone_gemm_bias(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                    int trans_a, const float *b, int64_t ldb, int trans_b, float beta, const float *bias, float *c,
                    int64_t ldc) {
  if (m <= 0 || n <= 0) return;
  if (k <= 0 || alpha == 0.0f) {
    only_beta(m, n, beta, bias, c, ldc);
    return;
  }
  if (hone_gemm_few_rows(pool, m, n, k, alpha, a, lda, trans_a, b, ldb, trans_b, beta, bias, c, ldc)) return;

  const hone_tile *tile = best_tile();
  const int64_t padded_k = ceil_div(k, tile->kstep) * tile->kstep;
  const int64_t panel_a = padded_k * tile->mr * tile->bytes, panel_b = padded_k * tile->nr * tile->bytes;
  const int64_t all_a = ceil_div(m, tile->mr), all_b = ceil_div(n, tile->nr);
  int64_t most_a = smaller(all_a, PACKED_LIMIT / panel_a), most_b = smaller(all_b, PACKED_LIMIT / panel_b);
  if (most_a < 1) most_a = 1;
  if (most_b < 1) most_b = 1;

  char *memory = NULL;
  while ((memory = hone_take((size_t)(most_a * panel_a + most_b * panel_b))) == NULL) {
    if (most_a == 1 && most_b == 1) __builtin_trap(); /* not even two panels: nothing in this process can go on */
    most_a = ceil_div(most_a, 2);
    most_b = ceil_div(most_b, 2);
  }
  for (int64_t first_b = 0; first_b < all_b; first_b += most_b)
    for (int64_t first_a = 0; first_a < all_a; first_a += most_a) {
      const int64_t row = first_a * tile->mr, column = first_b * tile->nr;
      chunk w = {.tile = tile,
                 .m = smaller(m - row, most_a * tile->mr),
                 .n = smaller(n - column, most_b * tile->nr),
                 .k = k,
                 .a = a + (trans_a ? row : row * lda),
                 .b = b + (trans_b ? column * ldb : column),
                 .lda = lda,
                 .ldb = ldb,
                 .ldc = ldc,
                 .trans_a = trans_a,
                 .trans_b = trans_b,
                 .alpha = alpha,
                 .beta = beta,
                 .bias = bias == NULL ? NULL : bias + column,
                 .c = c + row * ldc + column,
                 .packed_a = memory,
                 .packed_b = memory + most_a * panel_a,
                 .panel_a = panel_a,
                 .panel_b = panel_b};
      w.panels_a = ceil_div(w.m, tile->mr);
      w.panels_b = ceil_div(w.n, tile->nr);
      /* Operands that stay from the chunk before are packed already: B while A moves, A when there is one chunk of it. */
      w.first_panel = all_a <= most_a && first_b > 0 ? w.panels_a : 0;
      w.last_panel = w.panels_a + (first_a > 0 ? 0 : w.panels_b);
      w.next_panel = w.first_panel;
      cut_blocks(&w, pool->threads);
      const int64_t work = w.m * w.n * w.k;
      /* A thread wakes in tens of microseconds: below that, one does it all. */
      const int64_t bodies = work < 1000000 ? 1 : smaller(pool->threads, w.blocks_m * w.blocks_n);
      if (bodies <= 1) body(&w, 0);
      else pool->run(pool, bodies, body, &w);
    }
  hone_give(memory);
}

void hone_gemm(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
               int trans_a, const float *b, int64_t ldb, int trans_b, float beta, float *c, int64_t ldc) {
  hone_gemm_bias(pool, m, n, k, alpha, a, lda, trans_a, b, ldb, trans_b, beta, NULL, c, ldc);
}
