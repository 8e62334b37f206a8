/*
 * The matrix multiply's driver: which tile, how the work is cut, who does it.
 *
 * The smaller operand is packed whole and shared; the larger is cut into blocks, each packed by the thread that
 * multiplies it, just before it does. One run of the pool, one body per thread: bodies first claim panels of the shared
 * operand, wait until every claimed one is packed, then claim blocks. A thread that starts late, or is taken away,
 * costs no more than its share. Every number of C is summed in the same order, whoever does it.
 *
 * Products that share an operand are one product whose other operand is joined from several parts, each beginning at a
 * panel of its own: what they share is packed once, and the threads wake once.
 */
#include <sched.h>
#include <string.h>

#include "matmul.h"

/* Packed memory of the shared operand, in bytes: a larger one is taken in parts. */
#define SHARED_LIMIT ((int64_t)24 << 20)
/* A thread wakes in tens of microseconds: products below this many multiplications are left to one. */
#define WORTH_WAKING 1000000

/* Vectors of an operand that lie together. */
typedef struct {
  const void *data;
  int64_t ld;
  int64_t vectors; /* rows of A, columns of B */
  int64_t step;    /* from one vector to the next, in numbers */
  int64_t k_step;  /* from one k to the next */
  int64_t panel;   /* of the operand, with which it begins */
} part;

/* One of the two operands. */
typedef struct {
  int64_t parts;
  part part[HONE_MOST_SHARING];
  int64_t item; /* bytes of a number as stored, and packed */
  int64_t packed_item;
  int k_contiguous;
  int64_t width;  /* vectors of a panel */
  int64_t panels; /* of all parts */
  float scale;
  void (*pack)(char *, int64_t, const hone_vectors *);
} operand;

/* Where a product goes. */
typedef struct {
  float beta;
  const float *bias;
  float *c;
  int64_t ldc;
} result;

typedef struct {
  const hone_tile *tile;
  int64_t k, padded_k;
  operand shared, cut;
  int cut_is_a;
  hone_cut how;
  result results[HONE_MOST_SHARING]; /* one for each part of the operand that is joined */

  char *packed, *own; /* the shared operand; each body's block */
  int64_t panel_bytes, own_bytes;
  int64_t shared_first, shared_panels, panels_per_claim, claims; /* of the part of it that is packed */
  int64_t panels_per_block, blocks;
  int64_t next_claim, claims_done, next_block;
} product;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
/* Blocks begin at cache lines, where vectors are loaded and stored aligned. */
static int64_t to_lines(int64_t bytes) { return ceil_div(bytes, 64) * 64; }

static int64_t part_of(const operand *x, int64_t panel) {
  int64_t at = 0;
  while (at + 1 < x->parts && x->part[at + 1].panel <= panel) at++;
  return at;
}

static void pack(const operand *x, int64_t first_panel, int64_t panels, int64_t k, int64_t length, char *out,
                 int64_t panel_bytes) {
  while (panels > 0) {
    const int64_t at = part_of(x, first_panel);
    const part *from = &x->part[at];
    const int64_t end = at + 1 < x->parts ? x->part[at + 1].panel : x->panels;
    const int64_t some = smaller(panels, end - first_panel), first = (first_panel - from->panel) * x->width;
    const char *data = (const char *)from->data + (first * from->step + k * from->k_step) * x->item;
    const hone_vectors vectors = {data,   from->ld, x->k_contiguous, smaller(some * x->width, from->vectors - first),
                                  length, x->scale};
    x->pack(out, panel_bytes, &vectors);
    out += some * panel_bytes;
    first_panel += some;
    panels -= some;
  }
}

/* C = beta C + bias over rows x columns; answers whether the tiles must add to it. */
static int prepare_c(const result *w, float *c, int64_t column, int64_t rows, int64_t columns) {
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
  const operand *of_a = w->cut_is_a ? &w->cut : &w->shared, *of_b = w->cut_is_a ? &w->shared : &w->cut;
  const int64_t a_at = part_of(of_a, a_panel), b_at = part_of(of_b, b_panel);
  const part *a_part = &of_a->part[a_at], *b_part = &of_b->part[b_at];
  const result *to = &w->results[a_at + b_at]; /* one of the two is not joined */
  const int64_t row = (a_panel - a_part->panel) * tile->mr, rows = smaller(tile->mr, a_part->vectors - row);
  const int64_t column = (b_panel - b_part->panel) * tile->nr, columns = smaller(tile->nr, b_part->vectors - column);
  float *c = to->c + row * to->ldc + column;
  const int accumulate = k > 0 ? 1 : prepare_c(to, c, column, rows, columns);
  if (rows == tile->mr && columns == tile->nr) {
    tile->tile(length, a, b, c, to->ldc, accumulate, rows, columns, ahead);
    return;
  }
  float whole[32 * 32] __attribute__((aligned(64)));
  const int64_t nr = tile->nr;
  tile->tile(length, a, b, whole, nr, 0, rows, columns, ahead);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++)
      c[i * to->ldc + j] = accumulate ? c[i * to->ldc + j] + whole[i * nr + j] : whole[i * nr + j];
}

static void multiply_block(const product *w, int64_t block, char *own) {
  const hone_tile *tile = w->tile;
  const int64_t first = block * w->panels_per_block, panels = smaller(w->panels_per_block, w->cut.panels - first);
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
        if (w->cut_is_a) multiply_tile(w, k, length, cut, first + j, shared, w->shared_first + i, ahead);
        else multiply_tile(w, k, length, shared, w->shared_first + i, cut, first + j, ahead);
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
    pack(&w->shared, w->shared_first + first, smaller(w->panels_per_claim, w->shared_panels - first), 0, w->k,
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
static void only_beta(const hone_product *x) {
  for (int64_t i = 0; i < x->m; i++)
    for (int64_t j = 0; j < x->n; j++) {
      float *c = x->c + i * x->ldc + j;
      *c = (x->beta == 0.0f ? 0.0f : x->beta * *c) + (x->bias == NULL ? 0.0f : x->bias[j]);
    }
}

/* The product with `most` panels of the shared operand at a time. Answers 0 when there is no memory for it. */
static int multiply(hone_pool *pool, product w, int64_t most) {
  const int64_t all = w.shared.panels;
  w.panel_bytes = w.padded_k * w.shared.width * w.shared.packed_item;
  const int64_t work = smaller(all, most) * w.shared.width * w.cut.panels * w.cut.width * w.k;
  const int64_t threads = work < WORTH_WAKING ? 1 : larger(pool->threads, 1);
  w.panels_per_block = block_panels(w.cut.panels, w.cut.width, &w.how, threads);
  w.blocks = ceil_div(w.cut.panels, w.panels_per_block);
  w.own_bytes = to_lines(w.panels_per_block * w.cut.width * smaller(w.how.kc, w.padded_k) * w.cut.packed_item);
  const int64_t bodies = smaller(threads, w.blocks);
  const int64_t packed_bytes = to_lines(smaller(all, most) * w.panel_bytes);
  char *memory = hone_take((size_t)(packed_bytes + bodies * w.own_bytes));
  if (memory == NULL) return 0;
  w.packed = memory;
  w.own = memory + packed_bytes;
  for (w.shared_first = 0; w.shared_first < all; w.shared_first += most) {
    w.shared_panels = smaller(most, all - w.shared_first);
    w.panels_per_claim = larger(1, smaller(4, w.shared_panels / (3 * threads)));
    w.claims = ceil_div(w.shared_panels, w.panels_per_claim);
    w.next_claim = w.claims_done = w.next_block = 0;
    if (bodies == 1) body(&w, 0);
    else pool->run(pool, bodies, body, &w);
  }
  hone_give(memory);
  return 1;
}

/*
 * How the cut operand is cut. A number of C depends on which one that is only through kc: where the two kc differ, it is the
 * one that is cut for the product alone.
 */
static hone_cut cut_of(const hone_tile *tile, const hone_product *alone, int invariant, int *cut_is_a) {
  if (tile->cut_a.kc != tile->cut_b.kc && !invariant) *cut_is_a = alone->m > alone->n;
  hone_cut how = *cut_is_a ? tile->cut_a : tile->cut_b;
  if (invariant) how.kc = tile->cut_a.kc;
  return how;
}

static operand rows_of(const hone_tile *tile, const hone_product *x) {
  const int64_t step = x->trans_a ? 1 : x->lda, k_step = x->trans_a ? x->lda : 1;
  return (operand){.parts = 1,
                   .part = {{x->a, x->lda, x->m, step, k_step, 0}},
                   .item = sizeof(float),
                   .packed_item = tile->a_bytes,
                   .k_contiguous = !x->trans_a,
                   .width = tile->mr,
                   .panels = ceil_div(x->m, tile->mr),
                   .scale = x->alpha,
                   .pack = tile->pack_a};
}

static operand columns_of(const hone_tile *tile, const hone_product *x) {
  const int64_t step = x->trans_b ? x->ldb : 1, k_step = x->trans_b ? 1 : x->ldb;
  return (operand){.parts = 1,
                   .part = {{x->b, x->ldb, x->n, step, k_step, 0}},
                   .item = x->b_is_bf16 ? sizeof(uint16_t) : sizeof(float),
                   .packed_item = tile->b_bytes,
                   .k_contiguous = x->trans_b != 0,
                   .width = tile->nr,
                   .panels = ceil_div(x->n, tile->nr),
                   .scale = 1.0f,
                   .pack = tile->pack_b};
}

static void join(operand *to, operand with) {
  part *added = &to->part[to->parts++];
  *added = with.part[0];
  added->panel = to->panels;
  to->panels += with.panels;
}

/* One product, or some that `take_the_same_tiles`. */
static void multiply_with_tiles(hone_pool *pool, int64_t count, const hone_product *x) {
  const int invariant = pool->batch_invariant == HONE_MANY_ROWS;
  const hone_tile *tile = best_tile(invariant ? INT64_MAX : x->m, x->n, x->k, x->b_is_bf16, x->trans_b);
  operand rows = rows_of(tile, x), columns = columns_of(tile, x);
  int64_t m = x->m, n = x->n;
  for (int64_t i = 1; i < count; i++) {
    if (x[i].a == x->a) join(&columns, columns_of(tile, &x[i])), n += x[i].n;
    else join(&rows, rows_of(tile, &x[i])), m += x[i].m;
  }
  int cut_is_a = m > n;
  const hone_cut how = cut_of(tile, x, invariant, &cut_is_a);
  product w = {.tile = tile,
               .k = x->k,
               .padded_k = ceil_div(x->k, tile->kstep) * tile->kstep,
               .shared = cut_is_a ? columns : rows,
               .cut = cut_is_a ? rows : columns,
               .cut_is_a = cut_is_a,
               .how = how};
  for (int64_t i = 0; i < count; i++) w.results[i] = (result){x[i].beta, x[i].bias, x[i].c, x[i].ldc};
  int64_t most = larger(1, SHARED_LIMIT / (w.padded_k * w.shared.width * w.shared.packed_item));
  while (!multiply(pool, w, most)) {
    if (most == 1) __builtin_trap(); /* no memory for two panels: nothing in this process can go on */
    most = ceil_div(most, 8);
  }
}

/* A number of C is summed alike by every tile of a kind, in whole and at the edge: only the kind must not follow m. */
static void multiply_one(hone_pool *pool, const hone_product *x) {
  if (x->m <= 0 || x->n <= 0) return;
  if (x->k <= 0 || x->alpha == 0.0f) {
    only_beta(x);
    return;
  }
#if defined(__x86_64__)
  if (pool->batch_invariant == HONE_FEW_ROWS && x->trans_b && !x->trans_a && hone_cpu_isa() >= HONE_ISA_AVX512 &&
      hone_gemm_rows_avx512(pool, x->m, x->n, x->k, x->alpha, x->a, x->lda, x->b, x->b_is_bf16, x->ldb, x->beta, x->bias,
                            x->c, x->ldc))
    return;
#endif
  if (pool->batch_invariant != HONE_MANY_ROWS &&
      hone_gemm_few_rows(pool, x->m, x->n, x->k, x->alpha, x->a, x->lda, x->trans_a, x->b, x->b_is_bf16, x->ldb,
                         x->trans_b, x->beta, x->bias, x->c, x->ldc))
    return;
  multiply_with_tiles(pool, 1, x);
}

/* ---- products that share an operand --------------------------------------------------------------------- */

/* Whether they have one operand in common, and are of one kind otherwise. */
static int are_alike(int64_t count, const hone_product *x) {
  for (int64_t i = 1; i < count; i++) {
    const hone_product *y = &x[i];
    const int same_a = y->a == x->a && y->lda == x->lda && y->m == x->m;
    const int same_b = y->b == x->b && y->ldb == x->ldb && y->n == x->n;
    if (y->k != x->k || y->alpha != x->alpha || y->trans_a != x->trans_a || y->trans_b != x->trans_b ||
        y->b_is_bf16 != x->b_is_bf16 || (x[1].a == x->a ? !same_a : !same_b))
      return 0;
  }
  for (int64_t i = 0; i < count; i++)
    if (x[i].m <= 0 || x[i].n <= 0) return 0;
  return count <= HONE_MOST_SHARING && x->k > 0 && x->alpha != 0.0f;
}

/* Whether tiles would compute each of them, and in the same way as all together. */
static int take_the_same_tiles(hone_pool *pool, int64_t count, const hone_product *x) {
  const int invariant = pool->batch_invariant == HONE_MANY_ROWS;
  const hone_tile *tile = best_tile(invariant ? INT64_MAX : x->m, x->n, x->k, x->b_is_bf16, x->trans_b);
  for (int64_t i = 0; i < count; i++) {
    const hone_product *y = &x[i];
    if (pool->batch_invariant == HONE_FEW_ROWS && y->trans_b && !y->trans_a) return 0;
    if (!invariant && hone_is_few_rows(pool, y->m, y->n, y->k, y->trans_a, y->b_is_bf16, y->trans_b)) return 0;
    if (best_tile(invariant ? INT64_MAX : y->m, y->n, y->k, y->b_is_bf16, y->trans_b) != tile) return 0;
    if (!invariant && tile->cut_a.kc != tile->cut_b.kc && (y->m > y->n) != (x->m > x->n)) return 0;
  }
  return 1;
}

/* Strips are as wide as a multiple of this many columns, which kernels for few rows sum alike in any company. */
#define STRIP_COLUMNS 64
/* Fewer multiplications are not worth a body. */
#define LEAST_STRIP_WORK 200000

typedef struct {
  hone_pool alone;
  int64_t count, columns; /* products; columns of a body */
  const hone_product *x;
} strips;

static void multiply_strip(void *given, int64_t index) {
  strips *w = given;
  const hone_product *x = w->x;
  for (; index >= ceil_div(x->n, w->columns); x++) index -= ceil_div(x->n, w->columns);
  const int64_t first = index * w->columns;
  hone_product some = *x;
  some.n = smaller(w->columns, x->n - first);
  some.b = (const char *)x->b + first * x->ldb * (int64_t)(x->b_is_bf16 ? sizeof(uint16_t) : sizeof(float));
  some.bias = x->bias == NULL ? NULL : x->bias + first;
  some.c = x->c + first;
  multiply_one(&w->alone, &some);
}

/* Decoding: strips of columns of every product, each computed by one thread as for the product alone. */
static int multiply_in_strips(hone_pool *pool, int64_t count, const hone_product *x) {
  if (pool->batch_invariant != HONE_FEW_ROWS || !x->trans_b || x->trans_a || pool->threads < 2) return 0;
  int64_t n = 0, bodies = 0;
  for (int64_t i = 0; i < count; i++) n += x[i].n;
  if (x->m * n * x->k < LEAST_STRIP_WORK / 2) return 0;
  const int64_t units = larger(2 * pool->threads, smaller(x->m * n * x->k / LEAST_STRIP_WORK, 8 * pool->threads));
  strips w = {hone_serial_pool(), count, ceil_div(ceil_div(n, units), STRIP_COLUMNS) * STRIP_COLUMNS, x};
  w.alone.batch_invariant = pool->batch_invariant;
  for (int64_t i = 0; i < count; i++) bodies += ceil_div(x[i].n, w.columns);
  pool->run(pool, bodies, multiply_strip, &w);
  return 1;
}

void hone_gemm_sharing(hone_pool *pool, int64_t count, const hone_product *products) {
  if (count > 1 && are_alike(count, products)) {
    if (multiply_in_strips(pool, count, products)) return;
    if (take_the_same_tiles(pool, count, products)) {
      multiply_with_tiles(pool, count, products);
      return;
    }
  }
  for (int64_t i = 0; i < count; i++) multiply_one(pool, &products[i]);
}

void hone_gemm_bias(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                    int trans_a, const float *b, int64_t ldb, int trans_b, float beta, const float *bias, float *c,
                    int64_t ldc) {
  multiply_one(pool, &(hone_product){m, n, k, alpha, a, lda, trans_a, b, 0, ldb, trans_b, beta, bias, c, ldc});
}

void hone_gemm_bf16(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                    int trans_a, const uint16_t *b, int64_t ldb, int trans_b, float beta, const float *bias, float *c,
                    int64_t ldc) {
  multiply_one(pool, &(hone_product){m, n, k, alpha, a, lda, trans_a, b, 1, ldb, trans_b, beta, bias, c, ldc});
}

void hone_gemm(hone_pool *pool, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
               int trans_a, const float *b, int64_t ldb, int trans_b, float beta, float *c, int64_t ldc) {
  multiply_one(pool, &(hone_product){m, n, k, alpha, a, lda, trans_a, b, 0, ldb, trans_b, beta, NULL, c, ldc});
}
