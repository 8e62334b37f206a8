/*
 * Rotary positions (Su et al., arXiv:2104.09864) in Hugging Face's layout, where element i of a head is paired with element
 * i + width/2. The rotation is orthogonal, so its gradient is the inverse rotation.
 */
#include "hone.h"

typedef struct hone_rotary_run {
  int64_t tokens, heads, width, tokens_per_unit;
  int inverse;
  const float *x, *cos, *sin;
  const int64_t *positions;
  float *y;
  void (*body)(const struct hone_rotary_run *, int64_t, int64_t);
} hone_rotary_run;

#define HONE_KERNELS "rotary.kernels.h"
#include "each_isa.h"

#define NUMBERS_PER_UNIT 32768

static void unit(void *arg, int64_t index) {
  const hone_rotary_run *s = arg;
  const int64_t from = index * s->tokens_per_unit, to = from + s->tokens_per_unit;
  s->body(s, from, to < s->tokens ? to : s->tokens);
}

hone_status hone_rotary(hone_pool *pool, int64_t tokens, int64_t heads, int64_t width, int inverse, const float *x,
                        const int64_t *positions, const float *cos, const float *sin, int64_t table_rows, float *y) {
  if (tokens < 0 || heads <= 0 || width <= 0 || width % 2 != 0) return HONE_BAD_SHAPE;
  for (int64_t t = 0; t < tokens; t++)
    if (positions[t] < 0 || positions[t] >= table_rows) return HONE_BAD_INDEX;
  hone_rotary_run s = {.tokens = tokens, .heads = heads, .width = width, .inverse = inverse, .x = x, .cos = cos, .sin = sin,
                       .positions = positions, .y = y, .body = HONE_BEST(rotary_tokens)};
  const int64_t numbers = heads * width;
  s.tokens_per_unit = NUMBERS_PER_UNIT / numbers > 1 ? NUMBERS_PER_UNIT / numbers : 1;
  pool->run(pool, (tokens + s.tokens_per_unit - 1) / s.tokens_per_unit, unit, &s);
  return HONE_OK;
}
