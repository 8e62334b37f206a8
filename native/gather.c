/* Rows of a bf16 table as floats: the embedding of a frozen model. Rows added up by index: the gradient of a lookup. */
#include <string.h>

#include "hone.h"

#define HONE_KERNELS "gather.kernels.h"
#include "each_isa.h"

#define NUMBERS_PER_UNIT 65536

typedef struct {
  int64_t width, count, rows_per_unit;
  const uint16_t *table;
  const int64_t *indices;
  float *out;
  void (*widen)(float *, const uint16_t *, int64_t);
} gather;

static void gather_unit(void *arg, int64_t unit) {
  const gather *run = arg;
  const int64_t from = unit * run->rows_per_unit, to = from + run->rows_per_unit;
  for (int64_t i = from; i < to && i < run->count; i++)
    run->widen(run->out + i * run->width, run->table + run->indices[i] * run->width, run->width);
}

hone_status hone_gather_bf16(hone_pool *pool, int64_t rows, int64_t width, int64_t count, const uint16_t *table,
                             const int64_t *indices, float *out) {
  if (width < 0 || count < 0) return HONE_BAD_SHAPE;
  for (int64_t i = 0; i < count; i++)
    if (indices[i] < 0 || indices[i] >= rows) return HONE_BAD_INDEX;
  if (count == 0) return HONE_OK;
  gather run = {.width = width, .count = count, .rows_per_unit = NUMBERS_PER_UNIT / (width + 1) + 1, .table = table,
                .indices = indices, .out = out, .widen = HONE_BEST(widen)};
  pool->run(pool, (count + run.rows_per_unit - 1) / run.rows_per_unit, gather_unit, &run);
  return HONE_OK;
}

/* Columns are cut, not rows: indices repeat, and two threads must not add to one number. The order of sums is that of i. */
#define COLUMNS_PER_UNIT 32

typedef struct {
  int64_t rows, width, count;
  const int64_t *indices;
  const float *updates;
  float *out;
  void (*add)(float *, const float *, int64_t);
} scatter;

static void scatter_unit(void *arg, int64_t unit) {
  const scatter *run = arg;
  const int64_t from = unit * COLUMNS_PER_UNIT, left = run->width - from;
  const int64_t columns = left < COLUMNS_PER_UNIT ? left : COLUMNS_PER_UNIT;
  for (int64_t row = 0; row < run->rows; row++)
    memset(run->out + row * run->width + from, 0, (size_t)columns * sizeof(float));
  for (int64_t i = 0; i < run->count; i++)
    run->add(run->out + run->indices[i] * run->width + from, run->updates + i * run->width + from, columns);
}

hone_status hone_scatter_add(hone_pool *pool, int64_t rows, int64_t width, int64_t count, const int64_t *indices,
                             const float *updates, float *out) {
  if (rows < 0 || width < 0 || count < 0) return HONE_BAD_SHAPE;
  for (int64_t i = 0; i < count; i++)
    if (indices[i] < 0 || indices[i] >= rows) return HONE_BAD_INDEX;
  scatter run = {.rows = rows, .width = width, .count = count, .indices = indices, .updates = updates, .out = out,
                 .add = HONE_BEST(add)};
  pool->run(pool, (width + COLUMNS_PER_UNIT - 1) / COLUMNS_PER_UNIT, scatter_unit, &run);
  return HONE_OK;
}
