/*
 * AdamW (Loshchilov and Hutter, arXiv:1711.05101) in place, in the order of operations of torch.optim.AdamW, and the sum of
 * squares that clipping by the global norm needs. Both work in stretches of a fixed length, so the sum does not depend on
 * the number of threads.
 */
#include <math.h>

#include "hone.h"

typedef struct hone_adamw_run {
  int64_t count;
  float grad_scale, beta2, one_minus_beta1, one_minus_beta2, root_correction2, eps, decay, rate;
  float *p, *m, *v;
  const float *g;
  double *sums;
  void (*body)(const struct hone_adamw_run *, int64_t, int64_t);
  double (*squares)(const float *, int64_t);
} hone_adamw_run;

#define HONE_KERNELS "adamw.kernels.h"
#include "each_isa.h"

#define STRETCH 65536

static void adamw_unit(void *arg, int64_t index) {
  const hone_adamw_run *s = arg;
  const int64_t from = index * STRETCH, to = from + STRETCH;
  s->body(s, from, to < s->count ? to : s->count);
}

static void squares_unit(void *arg, int64_t index) {
  const hone_adamw_run *s = arg;
  const int64_t from = index * STRETCH, left = s->count - from;
  s->sums[index] = s->squares(s->g + from, left < STRETCH ? left : STRETCH);
}

hone_status hone_adamw(hone_pool *pool, int64_t count, const hone_adamw_step *step, float *p, const float *g, float *m,
                       float *v) {
  if (count < 0 || step->step < 1) return HONE_BAD_SHAPE;
  hone_adamw_run s = {
      .count = count,
      .grad_scale = (float)step->grad_scale,
      .beta2 = (float)step->beta2,
      .one_minus_beta1 = (float)(1 - step->beta1),
      .one_minus_beta2 = (float)(1 - step->beta2),
      .root_correction2 = (float)sqrt(1 - pow(step->beta2, (double)step->step)),
      .eps = (float)step->eps,
      .decay = (float)(1 - step->lr * step->weight_decay),
      .rate = (float)(step->lr / (1 - pow(step->beta1, (double)step->step))),
      .p = p,
      .m = m,
      .v = v,
      .g = g,
      .body = HONE_BEST(adamw_stretch),
  };
  pool->run(pool, (count + STRETCH - 1) / STRETCH, adamw_unit, &s);
  return HONE_OK;
}

hone_status hone_sum_squares(hone_pool *pool, int64_t count, const float *x, double *sum) {
  if (count < 0) return HONE_BAD_SHAPE;
  const int64_t stretches = (count + STRETCH - 1) / STRETCH;
  hone_adamw_run s = {.count = count, .g = x, .squares = HONE_BEST(squares)};
  s.sums = hone_take((size_t)(stretches + 1) * sizeof(double));
  if (s.sums == NULL) return HONE_NO_MEMORY;
  pool->run(pool, stretches, squares_unit, &s);
  *sum = 0;
  for (int64_t i = 0; i < stretches; i++) *sum += s.sums[i];
  hone_give(s.sums);
  return HONE_OK;
}
