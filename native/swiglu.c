/* SwiGLU (Shazeer, arXiv:2002.05202) without its linear maps: silu(gate) up, and its gradient from the inputs alone. */
#include "hone.h"

typedef struct hone_swiglu_run {
  int64_t rows, ffn, rows_per_unit;
  const float *gate_up, *dy;
  float *out;
  void (*body)(const struct hone_swiglu_run *, int64_t, int64_t);
} hone_swiglu_run;

#define HONE_KERNELS "swiglu.kernels.h"
#include "each_isa.h"

#define NUMBERS_PER_UNIT 16384

static void unit(void *arg, int64_t index) {
  const hone_swiglu_run *s = arg;
  const int64_t from = index * s->rows_per_unit, to = from + s->rows_per_unit;
  s->body(s, from, to < s->rows ? to : s->rows);
}

static hone_status run(hone_pool *pool, hone_swiglu_run s) {
  if (s.rows < 0 || s.ffn <= 0) return HONE_BAD_SHAPE;
  s.rows_per_unit = NUMBERS_PER_UNIT / s.ffn > 1 ? NUMBERS_PER_UNIT / s.ffn : 1;
  pool->run(pool, (s.rows + s.rows_per_unit - 1) / s.rows_per_unit, unit, &s);
  return HONE_OK;
}

hone_status hone_swiglu(hone_pool *pool, int64_t rows, int64_t ffn, const float *gate_up, float *y) {
  return run(pool, (hone_swiglu_run){.rows = rows, .ffn = ffn, .gate_up = gate_up, .out = y,
                                     .body = HONE_BEST(swiglu_rows)});
}

hone_status hone_swiglu_grad(hone_pool *pool, int64_t rows, int64_t ffn, const float *gate_up, const float *dy,
                             float *d_gate_up) {
  return run(pool, (hone_swiglu_run){.rows = rows, .ffn = ffn, .gate_up = gate_up, .dy = dy, .out = d_gate_up,
                                     .body = HONE_BEST(swiglu_grad_rows)});
}
