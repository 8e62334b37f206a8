/* Products with few vectors on one side, for one instruction set; matmul_few_rows.c says what they are for. */

HONE_INLINE vf HONE_NAME(large_at)(const few_rows *w, int64_t at, const int is_bf16) {
  return is_bf16 ? vf_load_bf16((const uint16_t *)w->large + at) : vf_load((const float *)w->large + at);
}
HONE_INLINE vf HONE_NAME(large_first)(const few_rows *w, int64_t at, int64_t count, const int is_bf16) {
  return is_bf16 ? vf_load_first_bf16((const uint16_t *)w->large + at, count)
                 : vf_load_first((const float *)w->large + at, count);
}

/*
 * k side by side: dot products, four of the small operand by four of the large, over k in [from, to). `sums` are the
 * lanes of the sums so far.
 */
HONE_INLINE void HONE_NAME(dots)(const few_rows *w, int64_t i, int64_t j, int64_t from, int64_t to, vf sums[4][4],
                                 const int64_t few, const int64_t many, const int is_bf16) {
  const float *small[4];
  int64_t large[4];
  vf s[4][4];
  for (int64_t p = 0; p < 4; p++) {
    small[p] = w->small + (i + (p < few ? p : 0)) * w->k;
    large[p] = (j + (p < many ? p : 0)) * w->large_ld;
  }
#pragma GCC unroll 4
  for (int64_t p = 0; p < 4; p++)
#pragma GCC unroll 4
    for (int64_t q = 0; q < 4; q++) s[p][q] = sums[p][q];
  int64_t l = from;
  for (; l + LANES <= to; l += LANES) {
    vf y[4];
#pragma GCC unroll 4
    for (int64_t q = 0; q < 4; q++)
      if (q < many) y[q] = HONE_NAME(large_at)(w, large[q] + l, is_bf16);
#pragma GCC unroll 4
    for (int64_t p = 0; p < 4; p++) {
      if (p >= few) continue;
      const vf x = vf_load(small[p] + l);
#pragma GCC unroll 4
      for (int64_t q = 0; q < 4; q++)
        if (q < many) s[p][q] = vf_fma(x, y[q], s[p][q]);
    }
  }
#pragma GCC unroll 4
  for (int64_t p = 0; p < 4; p++)
#pragma GCC unroll 4
    for (int64_t q = 0; q < 4; q++) sums[p][q] = s[p][q];
  if (l < to)
    for (int64_t p = 0; p < few; p++)
      for (int64_t q = 0; q < many; q++)
        sums[p][q] = vf_fma(vf_load_first(small[p] + l, to - l),
                            HONE_NAME(large_first)(w, large[q] + l, to - l, is_bf16), sums[p][q]);
}

/* So that this much of four large and all small vectors stays in the first cache. */
#define DOTS_K 512

HONE_INLINE void HONE_NAME(few_dots_of)(const few_rows *w, int64_t from, int64_t to, const int is_bf16) {
  for (int64_t j = from; j < to; j += 4) {
    const int64_t many = to - j < 4 ? to - j : 4;
    if (w->k <= DOTS_K && many == 4) {
      /* The usual case: sums stay in registers. */
      for (int64_t i = 0; i < w->few; i += 4) {
        const int64_t few = w->few - i < 4 ? w->few - i : 4;
        vf sums[4][4];
#pragma GCC unroll 4
        for (int64_t p = 0; p < 4; p++)
#pragma GCC unroll 4
          for (int64_t q = 0; q < 4; q++) sums[p][q] = vf_set(0.0f);
        if (few == 4) HONE_NAME(dots)(w, i, j, 0, w->k, sums, 4, 4, is_bf16);
        else if (few == 1) HONE_NAME(dots)(w, i, j, 0, w->k, sums, 1, 4, is_bf16);
        else HONE_NAME(dots)(w, i, j, 0, w->k, sums, few, 4, is_bf16);
        for (int64_t p = 0; p < few; p++) {
          float out[4];
          vf_sum4(sums[p], out);
          put4(w, i + p, j, out);
        }
      }
      continue;
    }
    vf sums[MOST_DOTS / 4][4][4];
    for (int64_t group = 0; group < MOST_DOTS / 4; group++)
      for (int64_t p = 0; p < 4; p++)
        for (int64_t q = 0; q < 4; q++) sums[group][p][q] = vf_set(0.0f);
    for (int64_t l = 0; l < w->k; l += DOTS_K) {
      const int64_t end = w->k - l < DOTS_K ? w->k : l + DOTS_K;
      for (int64_t i = 0; i < w->few; i += 4) {
        const int64_t few = w->few - i < 4 ? w->few - i : 4;
        if (few == 4 && many == 4) HONE_NAME(dots)(w, i, j, l, end, sums[i / 4], 4, 4, is_bf16);
        else if (few == 1 && many == 4) HONE_NAME(dots)(w, i, j, l, end, sums[i / 4], 1, 4, is_bf16);
        else HONE_NAME(dots)(w, i, j, l, end, sums[i / 4], few, many, is_bf16);
      }
    }
    for (int64_t i = 0; i < w->few; i++) {
      float out[4];
      vf_sum4(sums[i / 4][i % 4], out);
      for (int64_t q = 0; q < many; q++) put(w, i, j + q, out[q]);
    }
  }
}

static void HONE_NAME(few_dots)(const few_rows *w, int64_t from, int64_t to) {
  HONE_NAME(few_dots_of)(w, from, to, 0);
}
static void HONE_NAME(few_dots_bf16)(const few_rows *w, int64_t from, int64_t to) {
  HONE_NAME(few_dots_of)(w, from, to, 1);
}

/* The large operand's vectors side by side: four of the small operand by a strip of 4 LANES of the large. */
HONE_INLINE void HONE_NAME(strip)(const few_rows *w, int64_t i, int64_t j, const int64_t few, const int64_t wide,
                                  const int is_bf16) {
  vf sums[4][4];
  for (int64_t p = 0; p < 4; p++)
    for (int64_t q = 0; q < 4; q++) sums[p][q] = vf_set(0.0f);
  for (int64_t l = 0; l < w->k; l++) {
    const int64_t row = l * w->large_ld + j;
    vf y[4];
#pragma GCC unroll 4
    for (int64_t q = 0; q < 4; q++)
      if (q < wide) y[q] = HONE_NAME(large_at)(w, row + q * LANES, is_bf16);
#pragma GCC unroll 4
    for (int64_t p = 0; p < 4; p++) {
      if (p >= few) continue;
      const vf x = vf_set(w->small[(i + p) * w->k + l]);
#pragma GCC unroll 4
      for (int64_t q = 0; q < 4; q++)
        if (q < wide) sums[p][q] = vf_fma(x, y[q], sums[p][q]);
    }
  }
  for (int64_t p = 0; p < few; p++)
    for (int64_t q = 0; q < wide; q++) {
      float out[LANES];
      vf_store(out, sums[p][q]);
      for (int64_t lane = 0; lane < LANES; lane++) put(w, i + p, j + q * LANES + lane, out[lane]);
    }
}

HONE_INLINE void HONE_NAME(few_strips_of)(const few_rows *w, int64_t from, int64_t to, const int is_bf16) {
  int64_t j = from;
  for (; j + 4 * LANES <= to; j += 4 * LANES) {
    int64_t i = 0;
    for (; i + 4 <= w->few; i += 4) HONE_NAME(strip)(w, i, j, 4, 4, is_bf16);
    for (; i < w->few; i++) HONE_NAME(strip)(w, i, j, 1, 4, is_bf16);
  }
  for (; j + LANES <= to; j += LANES)
    for (int64_t i = 0; i < w->few; i++) HONE_NAME(strip)(w, i, j, 1, 1, is_bf16);
  /* The last columns, which no whole vector fits. */
  for (; j < to; j++)
    for (int64_t i = 0; i < w->few; i++) {
      float sum = 0.0f;
      for (int64_t l = 0; l < w->k; l++) {
        const int64_t at = l * w->large_ld + j;
        const float y = is_bf16 ? hone_float_of_bf16(((const uint16_t *)w->large)[at]) : ((const float *)w->large)[at];
        sum += w->small[i * w->k + l] * y;
      }
      put(w, i, j, sum);
    }
}

static void HONE_NAME(few_strips)(const few_rows *w, int64_t from, int64_t to) {
  HONE_NAME(few_strips_of)(w, from, to, 0);
}
static void HONE_NAME(few_strips_bf16)(const few_rows *w, int64_t from, int64_t to) {
  HONE_NAME(few_strips_of)(w, from, to, 1);
}
