/*
 * The matrix multiply's driver: which tile, how the work is cut, who does it.
 *
 * The smaller operand is packed whole and shared; the larger is cut into blocks, each packed by the thread that
 * multiplies it, just before it does. One run of the pool, one body per thread: bodies first claim panels of the shared
 * operand, wait until every claimed one is packed, then claim blocks. A thread that starts late, or is taken away,
 * costs no more than its share. Every number of C is summed in the same order, whoever does it.
 */
#include <sched.h>
#include <string.h>

#include "matmul.h"

/* Packed memory of the shared operand, in bytes: a larger one is taken in parts. */
#define SHARED_LIMIT ((int64_t)24 << 20)
/* A thread wakes in tens of microseconds: products below this many multiplications are left to one. */
#define WORTH_WAKING 1000000

/* One of the two operands. */
typedef struct {
  const void *data;
  int64_t item; /* bytes of a number as stored, and packed */
  int64_t packed_item;
  int64_t ld;
  int k_contiguous;
  int64_t vectors; /* rows of A, columns of B */
  int64_t step;    /* from one vector to the next, in numbers */
  int64_t k_step;  /* from one k to the next */
  int64_t width;   /* vectors of a panel */
  float scale;
  void (*pack)(char *, int64_t, const hone_vectors *);
} operand;

typedef struct {
  const hone_tile *tile;
  int64_t k, padded_k;
  operand shared, cut;
  int cut_is_a;
  hone_cut how;
  float beta;
  const float *bias;
  float *c;
  int64_t ldc;

  char *packed, *own; /* the shared operand; each body's block */
  int64_t panel_bytes, own_bytes;
  int64_t shared_panels, panels_per_claim, claims;
  int64_t cut_panels, panels_per_block, blocks;
  int64_t next_claim, claims_done, next_block;
} product;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
/* Blocks begin at cache lines, where vectors are loaded and stored aligned. */
static int64_t to_lines(int64_t bytes) { return ceil_div(bytes, 64) * 64; }

static void pack(const operand *x, int64_t first_panel, int64_t panels, int64_t k, int64_t length, char *out,
                 int64_t panel_bytes) {
  const int64_t first = first_panel * x->width;
  const char *data = (const char *)x->data + (first * x->step + k * x->k_step) * x->item;
  const hone_vectors vectors = {data, x->ld, x->k_contiguous,
                                smaller(panels * x->width, x->vectors - first), length, x->scale};
  x->pack(out, panel_bytes, &vectors);
}

/* C = beta C + bias over rows x columns; answers whether the tiles must add to it. */
static int prepare_c(const product *w, float *c, int64_t column, int64_t rows, int64_t columns) {
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

/* One tile of C; at the edge of C it is computed whole, beside it. */
static void multiply_tile(const product *w, int64_t k, int64_t length, const char *a, int64_t a_panel, const char *b,
                          int64_t b_panel, const char *ahead) {
  const hone_tile *tile = w->tile;
  const int64_t m = w->cut_is_a ? w->cut.vectors : w->shared.vectors;
  const int64_t n = w->cut_is_a ? w->shared.vectors : w->cut.vectors;
  const int64_t row = a_panel * tile->mr, rows = smaller(tile->mr, m - row);
  const int64_t column = b_panel * tile->nr, columns = smaller(tile->nr, n - column);
  float *c = w->c + row * w->ldc + column;
  const int accumulate = k > 0 ? 1 : prepare_c(w, c, column, rows, columns);
  if (rows == tile->mr && columns == tile->nr) {
    tile->tile(length, a, b, c, w->ldc, accumulate, rows, columns, ahead);
    return;
  }
  float whole[32 * 32] __attribute__((aligned(64)));
  const int64_t nr = tile->nr;
  tile->tile(length, a, b, whole, nr, 0, rows, columns, ahead);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++)
      c[i * w->ldc + j] = accumulate ? c[i * w->ldc + j] + whole[i * nr + j] : whole[i * nr + j];
}

static void multiply_block(const product *w, int64_t block, char *own) {
  const hone_tile *tile = w->tile;
  const int64_t first = block * w->panels_per_block, panels = smaller(w->panels_per_block, w->cut_panels - first);
  const int64_t shared_bytes = w->shared.width * w->shared.packed_item, cut_bytes = w->cut.width * w->cut.packed_item;
  for (int64_t k = 0; k < w->padded_k; k += w->how.kc) {
    const int64_t length = smaller(w->how.kc, w->padded_k - k);
    pack(&w->cut, first, panels, k, smaller(w->how.kc, w->k - k), own, length * cut_bytes);
    for (int64_t i = 0; i < w->shared_panels; i++) {
      const char *shared = w->packed + i * w->panel_bytes + k * shared_bytes;
      /* The next of the shared panels comes from far: it is asked for while this one is multiplied. */
      const char *ahead = i + 1 < w->shared_panels ? shared + w->panel_bytes : shared;
      for (int64_t j = 0; j < panels; j++) {
        const char *cut = own + j * length * cut_bytes;
        if (w->cut_is_a) multiply_tile(w, k, length, cut, first + j, shared, i, ahead);
        else multiply_tile(w, k, length, shared, i, cut, first + j, ahead);
        ahead += length / tile->kstep * 64 * HONE_AHEAD_LINES;
      }
    }
  }
}

static void body(void *arg, int64_t index) {
  product *w = arg;
  for (;;) {
    const int64_t claim = __atomic_fetch_add(&w->next_claim, 1, __ATOMIC_RELAXED);
    if (claim >= w->claims) break;
    const int64_t first = claim * w->panels_per_claim;
    pack(&w->shared, first, smaller(w->panels_per_claim, w->shared_panels - first), 0, w->k,
         w->packed + first * w->panel_bytes, w->panel_bytes);
    __atomic_fetch_add(&w->claims_done, 1, __ATOMIC_RELEASE);
  }
  /* Every claim is done or in the hands of a body that has started: this wait ends. */
  for (int spins = 0; __atomic_load_n(&w->claims_done, __ATOMIC_ACQUIRE) < w->claims; spins++) {
    if (spins > 2000) sched_yield();
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#endif
  }
  int entered = 0;
  for (;;) {
    const int64_t block = __atomic_fetch_add(&w->next_block, 1, __ATOMIC_RELAXED);
    if (block >= w->blocks) break;
    if (!entered) w->tile->enter();
    entered = 1;
    multiply_block(w, block, w->own + index * w->own_bytes);
  }
  if (entered) w->tile->leave();
}

static const hone_tile *best_tile(int64_t m, int64_t n, int64_t k, int b_is_bf16, int trans_b) {
#if defined(__x86_64__)
  /* Measured: where a 32 x 32 x 32 unit would be mostly padding, float32 is faster. */
  const int thin = k < 48 || m <= (b_is_bf16 ? 8 : 16) || n <= 16;
  switch (hone_cpu_isa()) {
    case HONE_ISA_AMX:
      if (thin) return b_is_bf16 ? &hone_tile_avx512_bf16 : &hone_tile_avx512;
      if (!b_is_bf16) return &hone_tile_amx;
      return trans_b ? &hone_tile_amx_bf16_rows : &hone_tile_amx_bf16_columns;
    case HONE_ISA_AVX512: return b_is_bf16 ? &hone_tile_avx512_bf16 : &hone_tile_avx512;
    case HONE_ISA_AVX2: return b_is_bf16 ? &hone_tile_avx2_bf16 : &hone_tile_avx2;
    default: break;
  }
#else
  (void)m, (void)n, (void)k, (void)trans_b;
#endif
  return b_is_bf16 ? &hone_tile_scalar_bf16 : &hone_tile_scalar;
}

/* How many panels of the larger operand make a block. Does not change any number of C. */
static int64_t block_panels(int64_t panels, int64_t width, const hone_cut *how, int64_t threads) {
  int64_t blocks = ceil_div(panels * width, how->block);
  if (threads > 1) blocks = ceil_div(larger(blocks, how->blocks * threads), threads) * threads;
  return ceil_div(panels, smaller(blocks, panels));
}

/* k = 0 or alpha = 0: nothing to multiply. */
static void only_beta(int64_t m, int64_t n, float beta, const float *bias, float *c, int64_t ldc) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++)
      c[i * ldc + j] = (beta == 0.0f ? 0.0f : beta * c[i * ldc + j]) + (bias == NULL ? 0.0f : bias[j]);
}

/* The product with `most` panels of the shared operand at a time. Answers 0 when there is no memory for it. */
static int multiply(hone_pool *pool, product whole, int64_t most) {
  const int64_t all = ceil_div(whole.shared.vectors, whole.shared.width);
  product w = whole;
  w.panel_bytes = w.padded_k * w.shared.width * w.shared.packed_item;
  w.cut_panels = ceil_div(w.cut.vectors, w.cut.width);
  const int64_t work = smaller(all, most) * w.shared.width * w.cut.vectors * w.k;
  const int64_t threads = work < WORTH_WAKING ? 1 : larger(pool->threads, 1);
  w.panels_per_block = block_panels(w.cut_panels, w.cut.width, &w.how, threads);
  w.blocks = ceil_div(w.cut_panels, w.panels_per_block);
  w.own_bytes = to_lines(w.panels_per_block * w.cut.width * smaller(w.how.kc, w.padded_k) * w.cut.packed_item);
  const int64_t bodies = smaller(threads, w.blocks);
  const int64_t packed_bytes = to_lines(smaller(all, most) * w.panel_bytes);
  char *memory = hone_take((size_t)(packed_bytes + bodies * w.own_bytes));
  if (memory == NULL) return 0;
  w.packed = memory;
  w.own = memory + packed_bytes;
  for (int64_t first = 0; first < all; first += most) {
    const int64_t skipped = first * w.shared.width;
    w.shared.data = (const char *)whole.shared.data + skipped * w.shared.step * w.shared.item;
    w.shared.vectors = smaller(whole.shared.vectors - skipped, most * w.shared.width);
    w.c = whole.c + (w.cut_is_a ? skipped : skipped * w.ldc);
    if (whole.bias != NULL && w.cut_is_a) w.bias = whole.bias + skipped;
    w.shared_panels = ceil_div(w.shared.vectors, w.shared.width);
    w.panels_per_claim = larger(1, smaller(4, w.shared_panels / (3 * threads)));
    w.claims = ceil_div(w.shared_panels, w.panels_per_claim);
    w.next_claim = w.claims_done = w.next_block = 0;
    if (bodies == 1) body(&w, 0);
    else pool->run(pool, bodies, body, &w);
  }
  hone_give(memory);
  return 1;
}

static void gemm(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                 int trans_a, const void *b, int b_is_bf16, int64_t ldb, int trans_b, float beta, const float *bias,
                 float *c, int64_t ldc) {
  if (m <= 0 || n <= 0) return;
  if (k <= 0 || alpha == 0.0f) {
    only_beta(m, n, beta, bias, c, ldc);
    return;
  }
  /* A number of C is summed alike by every tile of a kind, in whole and at the edge: only the kind must not follow m. */
  const int invariant = pool->batch_invariant == HONE_MANY_ROWS;
#if defined(__x86_64__)
  if (pool->batch_invariant == HONE_FEW_ROWS && trans_b && !trans_a && hone_cpu_isa() >= HONE_ISA_AVX512 &&
      hone_gemm_rows_avx512(pool, m, n, k, alpha, a, lda, b, b_is_bf16, ldb, beta, bias, c, ldc))
    return;
#endif
  if (!invariant &&
      hone_gemm_few_rows(pool, m, n, k, alpha, a, lda, trans_a, b, b_is_bf16, ldb, trans_b, beta, bias, c, ldc))
    return;

  const hone_tile *tile = best_tile(invariant ? INT64_MAX : m, n, k, b_is_bf16, trans_b);
  const operand rows = {a, sizeof(float), tile->a_bytes, lda, !trans_a, m, trans_a ? 1 : lda, trans_a ? lda : 1,
                        tile->mr, alpha, tile->pack_a};
  const operand columns = {b, b_is_bf16 ? sizeof(uint16_t) : sizeof(float), tile->b_bytes, ldb, trans_b != 0, n,
                           trans_b ? ldb : 1, trans_b ? 1 : ldb, tile->nr, 1.0f, tile->pack_b};
  const int cut_is_a = m > n;
  product w = {.tile = tile,
                     .k = k,
                     .padded_k = ceil_div(k, tile->kstep) * tile->kstep,
                     .shared = cut_is_a ? columns : rows,
                     .cut = cut_is_a ? rows : columns,
                     .cut_is_a = cut_is_a,
                     .how = cut_is_a ? tile->cut_a : tile->cut_b,
                     .beta = beta,
                     .bias = bias,
                     .c = c,
                     .ldc = ldc};
  if (invariant) w.how.kc = tile->cut_a.kc;
  int64_t most = larger(1, SHARED_LIMIT / (w.padded_k * w.shared.width * w.shared.packed_item));
  while (!multiply(pool, w, most)) {
    if (most == 1) __builtin_trap(); /* no memory for two panels: nothing in this process can go on */
    most = ceil_div(most, 8);
  }
}

void hone_gemm_bias(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                    int trans_a, const float *b, int64_t ldb, int trans_b, float beta, const float *bias, float *c,
                    int64_t ldc) {
  gemm(pool, m, n, k, alpha, a, lda, trans_a, b, 0, ldb, trans_b, beta, bias, c, ldc);
}

void hone_gemm_bf16(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                    int trans_a, const uint16_t *b, int64_t ldb, int trans_b, float beta, const float *bias, float *c,
                    int64_t ldc) {
  gemm(pool, m, n, k, alpha, a, lda, trans_a, b, 1, ldb, trans_b, beta, bias, c, ldc);
}

void hone_gemm(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
               int trans_a, const float *b, int64_t ldb, int trans_b, float beta, float *c, int64_t ldc) {
  gemm(pool, m, n, k, alpha, a, lda, trans_a, b, 0, ldb, trans_b, beta, NULL, c, ldc);
}
