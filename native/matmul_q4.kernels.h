/* 4-bit rows for one instruction set; matmul_q4.c says what they are for. */

/* LANES consecutive bytes as their even columns (low nibbles) and their odd columns, minus zero, times scale. */
HONE_INLINE void HONE_NAME(nibbles)(const uint8_t *p, vf zero, vf scale, vf *even, vf *odd) {
#if HONE_LANES == 16
  /* The permutation looks at the low four bits of each index, so the low nibble needs no mask. */
  const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) - zero;
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
  *even = _mm512_permutexvar_ps(bytes, table) * scale;
  *odd = _mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table) * scale;
#elif HONE_LANES == 8
  const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
  *even = (_mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(15))) - zero) * scale;
  *odd = (_mm256_cvtepi32_ps(_mm256_srli_epi32(bytes, 4)) - zero) * scale;
#else
  for (int i = 0; i < 4; i++) {
    (*even)[i] = ((float)(p[i] & 15) - zero[i]) * scale[i];
    (*odd)[i] = ((float)(p[i] >> 4) - zero[i]) * scale[i];
  }
#endif
}

/* The two vectors with their numbers taken in turn: even[0], odd[0], even[1], ... */
HONE_INLINE void HONE_NAME(store_in_turn)(float *out, vf even, vf odd) {
#if HONE_LANES == 16
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  vf_store(out, _mm512_permutex2var_ps(even, low, odd));
  vf_store(out + 16, _mm512_permutex2var_ps(even, high, odd));
#elif HONE_LANES == 8
  const __m256 low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
  vf_store(out, _mm256_permute2f128_ps(low, high, 0x20));
  vf_store(out + 8, _mm256_permute2f128_ps(low, high, 0x31));
#else
  for (int i = 0; i < 4; i++) {
    out[2 * i] = even[i];
    out[2 * i + 1] = odd[i];
  }
#endif
}

/* Row n of W as floats. */
static void HONE_NAME(q4_row)(const hone_q4 *w, int64_t n, float *out) {
  const int64_t blocks = w->k_in / w->block;
  const uint8_t *packed = w->packed + n * (w->k_in / 2);
  for (int64_t b = 0; b < blocks; b++) {
    const float scale = w->scales[n * blocks + b], zero = w->zeros == NULL ? 8.0f : (float)w->zeros[n * blocks + b];
    const uint8_t *p = packed + b * (w->block / 2);
    float *to = out + b * w->block;
    int64_t i = 0;
    for (; i + 2 * LANES <= w->block; i += 2 * LANES) {
      vf even, odd;
      HONE_NAME(nibbles)(p + i / 2, vf_set(zero), vf_set(scale), &even, &odd);
      HONE_NAME(store_in_turn)(to + i, even, odd);
    }
    for (; i < w->block; i += 2) {
      to[i] = ((float)(p[i / 2] & 15) - zero) * scale;
      to[i + 1] = ((float)(p[i / 2] >> 4) - zero) * scale;
    }
  }
}

/* y[m][n] for `rows` rows of W and `count` rows of x, whose even and odd columns lie apart. */
HONE_INLINE void HONE_NAME(q4_dots)(const hone_q4 *w, int64_t n, const int rows, const int count, const float *x_even,
                                    const float *x_odd, float *y) {
  const int64_t blocks = w->k_in / w->block, half = w->k_in / 2;
  vf sum[4][4];
#pragma GCC unroll 4
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int m = 0; m < count; m++) sum[r][m] = vf_set(0.0f);
  for (int64_t b = 0; b < blocks; b++) {
    vf scale[4], zero[4];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
      scale[r] = vf_set(w->scales[(n + r) * blocks + b]);
      zero[r] = vf_set(w->zeros == NULL ? 8.0f : (float)w->zeros[(n + r) * blocks + b]);
    }
    for (int64_t i = b * (w->block / 2); i < (b + 1) * (w->block / 2); i += LANES) {
#pragma GCC unroll 4
      for (int r = 0; r < rows; r++) {
        vf even, odd;
        HONE_NAME(nibbles)(w->packed + (n + r) * half + i, zero[r], scale[r], &even, &odd);
#pragma GCC unroll 4
        for (int m = 0; m < count; m++) {
          sum[r][m] = vf_fma(even, vf_load(x_even + m * half + i), sum[r][m]);
          sum[r][m] = vf_fma(odd, vf_load(x_odd + m * half + i), sum[r][m]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int m = 0; m < count; m++) y[m * w->n_out + n + r] = vf_sum(sum[r][m]);
}

/* Columns from .. to of y for `m` rows of x. */
static void HONE_NAME(q4_columns)(const hone_q4 *w, int64_t from, int64_t to, int64_t m, const float *x_even,
                                  const float *x_odd, float *y) {
  const int64_t half = w->k_in / 2;
  for (int64_t n = from; n < to; n += 4) {
    const int whole = n + 4 <= to;
    for (int64_t i = 0; i < m;) {
      const float *even = x_even + i * half, *odd = x_odd + i * half;
      float *out = y + i * w->n_out;
      const int64_t left = m - i;
      if (whole) {
        if (left >= 4) HONE_NAME(q4_dots)(w, n, 4, 4, even, odd, out);
        else if (left >= 2) HONE_NAME(q4_dots)(w, n, 4, 2, even, odd, out);
        else HONE_NAME(q4_dots)(w, n, 4, 1, even, odd, out);
        i += left >= 4 ? 4 : left >= 2 ? 2 : 1;
      } else {
        for (int64_t r = n; r < to; r++) HONE_NAME(q4_dots)(w, r, 1, 1, even, odd, out);
        i++;
      }
    }
  }
}
