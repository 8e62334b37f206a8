/* Rows of a bf16 table as floats: the embedding of a frozen model. */
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
