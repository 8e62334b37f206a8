/*
 * Attention of new tokens over a cache of keys and values that is kept in pages, so that sequences can share what they have
 * in common. The new keys and values are put into their pages first; then a token attends to its sequence's pages up to its
 * own position, whether these were filled long ago or just now.
 *
 * A token's numbers depend on its own sequence alone, to the last bit: not on which others are computed with it.
 * Work is cut into (tokens of one sequence, group of heads).
 */
#include <string.h>

#include "hone.h"

/* Query rows of one key-value head that go through the pages together, and their state. */
#define MOST_ROWS 4
#define MOST_WIDTH 1024

typedef struct hone_decode_rows {
  int64_t count, width, padded, page_stride, window;
  float scale;
  const int32_t *pages[MOST_ROWS]; /* of each row's sequence */
  const float *keys, *values;     /* of page 0, at this head */
  const float *q[MOST_ROWS];
  float *o[MOST_ROWS];
  int64_t positions[MOST_ROWS];
} hone_decode_rows;

#define HONE_KERNELS "decode_attention.kernels.h"
#include "each_isa.h"

/* Tokens that lie side by side, of one sequence or of several that begin with the same page: [first, first + count). */
typedef struct {
  int64_t first, count;
} piece;

/* Enough rows to be worth a body of the pool, few enough to share the work out. */
#define TOKENS_PER_PIECE 16

typedef struct {
  const hone_decode_attention *shape;
  const float *q, *k, *v;
  float *keys, *values, *o;
  const int32_t *tables, *sequences, *positions;
  piece *pieces;
  int64_t count;
  int64_t heads_per_unit;
  int stores_itself;
  void (*attend)(const hone_decode_rows *, float *);
} decode_run;

static hone_status check(const hone_decode_attention *s, const int32_t *tables, const int32_t *sequences,
                         const int32_t *positions) {
  if (s->tokens < 0 || s->width <= 0 || s->width % 4 != 0 || s->width > MOST_WIDTH || s->kv_heads <= 0 || s->heads <= 0 ||
      s->heads % s->kv_heads != 0 || s->window < 0)
    return HONE_BAD_SHAPE;
  for (int64_t t = 0; t < s->tokens; t++) {
    if (sequences[t] < 0 || sequences[t] >= s->sequences || positions[t] < 0 ||
        positions[t] / HONE_CACHE_PAGE >= s->table_width)
      return HONE_BAD_INDEX;
    const int32_t *table = tables + sequences[t] * s->table_width;
    for (int64_t p = 0; p <= positions[t] / HONE_CACHE_PAGE; p++)
      if (table[p] < 0 || table[p] >= s->pages) return HONE_BAD_INDEX;
  }
  return HONE_OK;
}

/* Keys of a page lie transposed, [kv_heads][width][HONE_CACHE_PAGE]; values [kv_heads][HONE_CACHE_PAGE][width]. */
static void store(const decode_run *run, int64_t t, int64_t head) {
  const hone_decode_attention *s = run->shape;
  const int64_t slot = run->positions[t] % HONE_CACHE_PAGE;
  const int64_t page = run->tables[run->sequences[t] * s->table_width + run->positions[t] / HONE_CACHE_PAGE];
  const int64_t at = page * s->kv_heads * s->width * HONE_CACHE_PAGE;
  const float *k = run->k + (t * s->kv_heads + head) * s->width, *v = run->v + (t * s->kv_heads + head) * s->width;
  float *keys = run->keys + at + head * s->width * HONE_CACHE_PAGE + slot;
  for (int64_t d = 0; d < s->width; d++) keys[d * HONE_CACHE_PAGE] = k[d];
  memcpy(run->values + at + (head * HONE_CACHE_PAGE + slot) * s->width, v, (size_t)s->width * sizeof(float));
}

static void store_unit(void *arg, int64_t index) {
  const decode_run *run = arg;
  const piece *work = &run->pieces[index / run->shape->kv_heads];
  for (int64_t t = work->first; t < work->first + work->count; t++) store(run, t, index % run->shape->kv_heads);
}

static void attend(const decode_run *run, const piece *work, int64_t head) {
  const hone_decode_attention *s = run->shape;
  const int64_t group = s->heads / s->kv_heads, padded = (s->width + 15) / 16 * 16;
  if (run->stores_itself)
    for (int64_t t = work->first; t < work->first + work->count; t++) store(run, t, head);
  /* Small enough for the stack, and taken too often for a lock. */
  float scratch[MOST_ROWS * MOST_WIDTH] __attribute__((aligned(64)));
  hone_decode_rows rows = {.width = s->width,
                           .padded = padded,
                           .page_stride = s->kv_heads * s->width * HONE_CACHE_PAGE,
                           .window = s->window,
                           .scale = s->scale,
                           .keys = run->keys + head * s->width * HONE_CACHE_PAGE,
                           .values = run->values + head * s->width * HONE_CACHE_PAGE};
  /* The rows of one head after another are tokens, those of one token after another heads. */
  for (int64_t row = 0; row < work->count * group; row += rows.count) {
    rows.count = work->count * group - row < MOST_ROWS ? work->count * group - row : MOST_ROWS;
    for (int64_t r = 0; r < rows.count; r++) {
      const int64_t t = work->first + (row + r) / group, at = (t * s->heads + head * group + (row + r) % group) * s->width;
      rows.q[r] = run->q + at;
      rows.o[r] = run->o + at;
      rows.positions[r] = run->positions[t];
      rows.pages[r] = run->tables + run->sequences[t] * s->table_width;
    }
    run->attend(&rows, scratch);
  }
}

static void unit(void *arg, int64_t index) {
  const decode_run *run = arg;
  const int64_t shares = run->shape->kv_heads / run->heads_per_unit, first = index % shares * run->heads_per_unit;
  for (int64_t head = first; head < first + run->heads_per_unit; head++) attend(run, &run->pieces[index / shares], head);
}

/* Whether token t is best computed with the piece before it. */
static int goes_with_last(const decode_run *run, int64_t t) {
  const hone_decode_attention *s = run->shape;
  const int64_t count = run->pieces[run->count - 1].count;
  if (run->sequences[t] == run->sequences[t - 1]) return count < TOKENS_PER_PIECE;
  /* Samples of one prompt: its keys and values are read once for all rows that go through them together. */
  return (count + 1) * (s->heads / s->kv_heads) <= MOST_ROWS &&
         run->tables[run->sequences[t] * s->table_width] == run->tables[run->sequences[t - 1] * s->table_width];
}

hone_status hone_decode_attention_forward(hone_pool *pool, const hone_decode_attention *shape, const float *q,
                                          const float *k, const float *v, float *keys, float *values,
                                          const int32_t *tables, const int32_t *sequences, const int32_t *positions,
                                          float *o) {
  decode_run run = {.shape = shape, .q = q, .k = k, .v = v, .keys = keys, .values = values, .o = o, .tables = tables,
                    .sequences = sequences, .positions = positions, .attend = HONE_BEST(decode_rows)};
  const hone_status status = check(shape, tables, sequences, positions);
  if (status != HONE_OK) return status;
  if (shape->tokens == 0) return HONE_OK;
  run.pieces = hone_take((size_t)shape->tokens * sizeof(piece));
  if (run.pieces == NULL) return HONE_NO_MEMORY;
  for (int64_t t = 0; t < shape->tokens; t++) {
    if (run.count > 0 && goes_with_last(&run, t)) run.pieces[run.count - 1].count++;
    else run.pieces[run.count++] = (piece){t, 1};
  }
  /* One token a sequence sees only what its own unit stores; else all must be there before the first is attended to. */
  run.stores_itself = 1;
  for (int64_t t = 0; t < shape->tokens; t++) run.stores_itself &= sequences[t] == t;
  if (!run.stores_itself) pool->run(pool, run.count * shape->kv_heads, store_unit, &run);
  /* Where there are sequences enough to share out, their heads need not be. */
  run.heads_per_unit = run.count >= 8 * pool->threads ? shape->kv_heads : 1;
  pool->run(pool, run.count * shape->kv_heads / run.heads_per_unit, unit, &run);
  hone_give(run.pieces);
  return HONE_OK;
}
