/*
 * RMSNorm (Zhang and Sennrich, arXiv:1910.07467) and its gradient. dw is summed in shares of a number of rows that depends
 * on the shape alone, and the shares are added in order, so the sum is the same for any number of threads.
 */
#include <string.h>

#include "hone.h"

typedef struct hone_norm {
  int64_t rows, width, rows_per_unit, shares;
  float eps;
  const float *x, *w, *inv_std, *dy;
  float *y, *inv_std_out, *dw, *dw_shares;
  void (*forward)(const struct hone_norm *, int64_t, int64_t);
  void (*grad)(const struct hone_norm *, int64_t, int64_t, float *);
  void (*add)(const float *, int64_t, int64_t, int64_t, int64_t, float *);
} hone_norm;

#define HONE_KERNELS "norm.kernels.h"
#include "each_isa.h"

#define NUMBERS_PER_UNIT 16384
#define MOST_SHARES 64
#define COLUMNS_PER_ADD 128

static int64_t end_of(const hone_norm *n, int64_t unit) {
  const int64_t end = (unit + 1) * n->rows_per_unit;
  return end < n->rows ? end : n->rows;
}

static void forward_unit(void *arg, int64_t unit) {
  const hone_norm *n = arg;
  n->forward(n, unit * n->rows_per_unit, end_of(n, unit));
}

static void grad_unit(void *arg, int64_t unit) {
  const hone_norm *n = arg;
  n->grad(n, unit * n->rows_per_unit, end_of(n, unit), n->dw == NULL ? NULL : n->dw_shares + unit * n->width);
}

static void add_unit(void *arg, int64_t unit) {
  const hone_norm *n = arg;
  const int64_t from = unit * COLUMNS_PER_ADD, to = from + COLUMNS_PER_ADD;
  n->add(n->dw_shares, n->shares, n->width, from, to < n->width ? to : n->width, n->dw);
}

hone_status hone_rms_norm(hone_pool *pool, int64_t rows, int64_t width, float eps, const float *x, const float *w, float *y,
                          float *inv_std) {
  if (rows < 0 || width <= 0) return HONE_BAD_SHAPE;
  hone_norm n = {.rows = rows, .width = width, .eps = eps, .x = x, .w = w, .y = y, .inv_std_out = inv_std,
                 .forward = HONE_BEST(norm_rows)};
  n.rows_per_unit = NUMBERS_PER_UNIT / width > 1 ? NUMBERS_PER_UNIT / width : 1;
  pool->run(pool, (rows + n.rows_per_unit - 1) / n.rows_per_unit, forward_unit, &n);
  return HONE_OK;
}

hone_status hone_rms_norm_grad(hone_pool *pool, int64_t rows, int64_t width, const float *x, const float *w,
                               const float *inv_std, const float *dy, float *dx, float *dw) {
  if (rows < 0 || width <= 0) return HONE_BAD_SHAPE;
  hone_norm n = {.rows = rows, .width = width, .x = x, .w = w, .inv_std = inv_std, .dy = dy, .y = dx, .dw = dw,
                 .grad = HONE_BEST(norm_grad_rows), .add = HONE_BEST(norm_add)};
  n.rows_per_unit = NUMBERS_PER_UNIT / width > 1 ? NUMBERS_PER_UNIT / width : 1;
  if (rows > n.rows_per_unit * MOST_SHARES) n.rows_per_unit = (rows + MOST_SHARES - 1) / MOST_SHARES;
  n.shares = (rows + n.rows_per_unit - 1) / n.rows_per_unit;
  if (dw != NULL) {
    if (n.shares == 0) {
      memset(dw, 0, (size_t)width * sizeof(float));
      return HONE_OK;
    }
    n.dw_shares = hone_take((size_t)(n.shares * width) * sizeof(float));
    if (n.dw_shares == NULL) return HONE_NO_MEMORY;
  }
  pool->run(pool, n.shares, grad_unit, &n);
  if (dw != NULL) {
    pool->run(pool, (width + COLUMNS_PER_ADD - 1) / COLUMNS_PER_ADD, add_unit, &n);
    hone_give(n.dw_shares);
  }
  return HONE_OK;
}
