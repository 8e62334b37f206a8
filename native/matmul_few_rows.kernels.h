/* Products with few vectors on one side, for one instruction set; matmul_few_rows.c says what they are for. */

/* k side by side: dot products, four of the small operand by four of the large. */
HONE_INLINE void HONE_NAME(dots)(const few_rows *w, int64_t i, int64_t j, const int64_t few, const int64_t many) {
  const float *small[4], *large[4];
  vf sums[4][4];
  for (int64_t p = 0; p < 4; p++) {
    small[p] = w->small + (i + (p < few ? p : 0)) * w->k;
    large[p] = w->large + (j + (p < many ? p : 0)) * w->large_ld;
    for (int64_t q = 0; q < 4; q++) sums[p][q] = vf_set(0.0f);
  }
  int64_t l = 0;
  for (; l + LANES <= w->k; l += LANES) {
    vf y[4];
#pragma GCC unroll 4
    for (int64_t q = 0; q < 4; q++)
      if (q < many) y[q] = vf_load(large[q] + l);
#pragma GCC unroll 4
    for (int64_t p = 0; p < 4; p++) {
      if (p >= few) continue;
      const vf x = vf_load(small[p] + l);
#pragma GCC unroll 4
      for (int64_t q = 0; q < 4; q++)
        if (q < many) sums[p][q] = vf_fma(x, y[q], sums[p][q]);
    }
  }
  if (l < w->k)
    for (int64_t p = 0; p < few; p++)
      for (int64_t q = 0; q < many; q++)
        sums[p][q] = vf_fma(vf_load_first(small[p] + l, w->k - l), vf_load_first(large[q] + l, w->k - l), sums[p][q]);
  for (int64_t p = 0; p < few; p++) {
    float out[4];
    vf_sum4(sums[p], out);
    for (int64_t q = 0; q < many; q++) put(w, i + p, j + q, out[q]);
  }
}

static void HONE_NAME(few_dots)(const few_rows *w, int64_t from, int64_t to) {
  int64_t j = from;
  for (; j + 4 <= to; j += 4) {
    int64_t i = 0;
    for (; i + 4 <= w->few; i += 4) HONE_NAME(dots)(w, i, j, 4, 4);
    for (; i < w->few; i++) HONE_NAME(dots)(w, i, j, 1, 4);
  }
  for (; j < to; j++)
    for (int64_t i = 0; i < w->few; i++) HONE_NAME(dots)(w, i, j, 1, 1);
}

/* The large operand's vectors side by side: four of the small operand by a strip of 4 LANES of the large. */
HONE_INLINE void HONE_NAME(strip)(const few_rows *w, int64_t i, int64_t j, const int64_t few, const int64_t wide) {
  vf sums[4][4];
  for (int64_t p = 0; p < 4; p++)
    for (int64_t q = 0; q < 4; q++) sums[p][q] = vf_set(0.0f);
  for (int64_t l = 0; l < w->k; l++) {
    const float *row = w->large + l * w->large_ld + j;
    vf y[4];
#pragma GCC unroll 4
    for (int64_t q = 0; q < 4; q++)
      if (q < wide) y[q] = vf_load(row + q * LANES);
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

static void HONE_NAME(few_strips)(const few_rows *w, int64_t from, int64_t to) {
  int64_t j = from;
  for (; j + 4 * LANES <= to; j += 4 * LANES) {
    int64_t i = 0;
    for (; i + 4 <= w->few; i += 4) HONE_NAME(strip)(w, i, j, 4, 4);
    for (; i < w->few; i++) HONE_NAME(strip)(w, i, j, 1, 4);
  }
  for (; j + LANES <= to; j += LANES)
    for (int64_t i = 0; i < w->few; i++) HONE_NAME(strip)(w, i, j, 1, 1);
  /* The last columns, which no whole vector fits. */
  for (; j < to; j++)
    for (int64_t i = 0; i < w->few; i++) {
      float sum = 0.0f;
      for (int64_t l = 0; l < w->k; l++) sum += w->small[i * w->k + l] * w->large[l * w->large_ld + j];
      put(w, i, j, sum);
    }
}
