/* SwiGLU (Shazeer, arXiv:2002.05202) without its linear maps: silu(gate) up, and its gradient from the inputs alone. */
#include "hone.h"

typedef struct hone_swiglu_run {
  int64_t count;
  const float *gate, *up, *dy;
  float *y, *d_gate, *d_up;
  void (*body)(const struct hone_swiglu_run *, int64_t, int64_t);
} hone_swiglu_run;

#define HONE_KERNELS "swiglu.kernels.h"
#include "each_isa.h"

#define NUMBERS_PER_UNIT 16384

static void unit(void *arg, int64_t index) {
  const hone_swiglu_run *s = arg;
  const int64_t from = index * NUMBERS_PER_UNIT, to = from + NUMBERS_PER_UNIT;
  s->body(s, from, to < s->count ? to : s->count);
}

static hone_status run(hone_pool *pool, hone_swiglu_run s) {
  if (s.count < 0) return HONE_BAD_SHAPE;
  pool->run(pool, (s.count + NUMBERS_PER_UNIT - 1) / NUMBERS_PER_UNIT, unit, &s);
  return HONE_OK;
}

hone_status hone_swiglu(hone_pool *pool, int64_t count, const float *gate, const float *up, float *y) {
  return run(pool, (hone_swiglu_run){.count = count, .gate = gate, .up = up, .y = y, .body = HONE_BEST(swiglu_part)});
}

hone_status hone_swiglu_grad(hone_pool *pool, int64_t count, const float *gate, const float *up, const float *dy,
                             float *d_gate, float *d_up) {
  return run(pool, (hone_swiglu_run){.count = count, .gate = gate, .up = up, .dy = dy, .d_gate = d_gate, .d_up = d_up,
                                     .body = HONE_BEST(swiglu_grad_part)});
}
