/*
 * The inner loops of attention for one instruction set; attention.c says what they are for.
 *
 * Everything is a product of four rows with a block, C[4, n] = start C + A[4, depth] B[depth, n], A in any layout.
 * Keys come in blocks of HONE_BLOCK. A block of k or v is copied transposed ([width][HONE_BLOCK]) where its rows are
 * the columns of a product, and padded to whole vectors where its rows are the depth. Rows come in groups of four;
 * a group is multiplied only with the vectors of keys that at least one of its rows attends to.
 */

#define TILE_VECTORS (LANES == 16 ? 4 : 2)

HONE_INLINE void HONE_NAME(tile)(const int vectors, const int start, int64_t depth, const float *a, int64_t a_row,
                                 int64_t a_step, const float *b, int64_t b_step, float *c, int64_t c_row,
                                 const float *keep) {
  vf sum[4][4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++) {
#pragma GCC unroll 4
    for (int n = 0; n < vectors; n++) {
      sum[r][n] = start == 0 ? vf_set(0.0f) : vf_load(c + r * c_row + n * LANES);
      if (start == 2) sum[r][n] = sum[r][n] * vf_set(keep[r]);
    }
  }
  for (int64_t d = 0; d < depth; d++) {
    vf row[4];
#pragma GCC unroll 4
    for (int n = 0; n < vectors; n++) row[n] = vf_load(b + n * LANES);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      vf x = vf_set(a[r * a_row]);
#pragma GCC unroll 4
      for (int n = 0; n < vectors; n++) sum[r][n] = vf_fma(x, row[n], sum[r][n]);
    }
    a += a_step;
    b += b_step;
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
    for (int n = 0; n < vectors; n++) vf_store(c + r * c_row + n * LANES, sum[r][n]);
}

/* C = start A B over `vectors` vectors of columns. start: 0 sets C, 1 adds to it, 2 adds to keep[row] times it. */
HONE_INLINE void HONE_NAME(multiply)(int64_t vectors, const int start, int64_t depth, const float *a, int64_t a_row,
                                     int64_t a_step, const float *b, int64_t b_step, float *c, int64_t c_row,
                                     const float *keep) {
  while (vectors > 0) {
    int64_t now = vectors < TILE_VECTORS ? vectors : TILE_VECTORS;
    switch (now) {
      case 1: HONE_NAME(tile)(1, start, depth, a, a_row, a_step, b, b_step, c, c_row, keep); break;
      case 2: HONE_NAME(tile)(2, start, depth, a, a_row, a_step, b, b_step, c, c_row, keep); break;
#if HONE_LANES == 16
      case 3: HONE_NAME(tile)(3, start, depth, a, a_row, a_step, b, b_step, c, c_row, keep); break;
      default: HONE_NAME(tile)(4, start, depth, a, a_row, a_step, b, b_step, c, c_row, keep); break;
#endif
    }
    vectors -= now;
    b += now * LANES;
    c += now * LANES;
  }
}

/* out[r] = row r of x padded with zeros to `padded` numbers, for r < rows; zeros for rows <= r < all_rows. */
HONE_INLINE void HONE_NAME(copy_rows)(const float *x, int64_t stride, int64_t rows, int64_t all_rows, int64_t width,
                                      int64_t padded, float *out) {
  for (int64_t r = 0; r < all_rows; r++, out += padded) {
    if (r < rows) memcpy(out, x + r * stride, (size_t)width * sizeof(float));
    int64_t from = r < rows ? width : 0;
    memset(out + from, 0, (size_t)(padded - from) * sizeof(float));
  }
}

/* out[d][r] = x[r][d] for r < rows <= HONE_BLOCK, 0 for the other r. */
HONE_INLINE void HONE_NAME(copy_transposed)(const float *x, int64_t stride, int64_t rows, int64_t width, float *out) {
  int64_t r = 0;
  for (; r + LANES <= rows; r += LANES)
    for (int64_t d = 0; d < width; d += 4) vf_transpose4(x + r * stride + d, stride, out + d * HONE_BLOCK + r, HONE_BLOCK);
  for (; r < HONE_BLOCK; r++)
    for (int64_t d = 0; d < width; d++) out[d * HONE_BLOCK + r] = r < rows ? x[r * stride + d] : 0.0f;
}

/* Which keys of the block at `key` the four rows from `row` attend to, as vectors: first <= n < last. */
HONE_INLINE int HONE_NAME(keys_of)(const hone_attention_sequence *s, int64_t row, int64_t key, int64_t *first,
                                   int64_t *last, int64_t *end) {
  int64_t low = s->window > 0 ? row - s->window + 1 - key : 0;
  int64_t high = row + 4 < s->length ? row + 4 : s->length;
  high -= key;
  if (low < 0) low = 0;
  if (high > HONE_BLOCK) high = HONE_BLOCK;
  if (high <= low) return 0;
  *first = low / LANES;
  *last = (high + LANES - 1) / LANES;
  *end = high;
  return 1;
}

/* Whether some row of the group does not attend to some key of the block. */
HONE_INLINE int HONE_NAME(needs_mask)(const hone_attention_sequence *s, int64_t row, int64_t key) {
  return key + HONE_BLOCK - 1 > row || (s->window > 0 && row + 3 - s->window + 1 > key);
}

/* Rows from .. to of one head of one sequence. scratch: see hone_attention_forward_scratch. */
static void HONE_NAME(attention_rows)(const hone_attention_sequence *s, int64_t from, int64_t to, float *scratch) {
  const int64_t width = s->width, padded = (width + LANES - 1) / LANES * LANES, vectors = padded / LANES;
  const int64_t rows = to - from, groups = (rows + 3) / 4;
  float *k_t = scratch, *v = k_t + width * HONE_BLOCK, *p = v + HONE_BLOCK * padded, *q = p + 4 * HONE_BLOCK,
        *o = q + groups * 4 * padded, *most = o + groups * 4 * padded, *total = most + groups * 4;
  HONE_NAME(copy_rows)(s->q + from * s->q_stride, s->q_stride, rows, groups * 4, width, padded, q);
  memset(o, 0, (size_t)(groups * 4 * padded) * sizeof(float));
  for (int64_t r = 0; r < groups * 4; r++) {
    most[r] = HONE_NO_SCORE;
    total[r] = 0.0f;
  }
  const vf scale = vf_set(s->scale);
  int64_t low = s->window > 0 && from - s->window + 1 > 0 ? from - s->window + 1 : 0;
  for (int64_t key = low / HONE_BLOCK * HONE_BLOCK; key < to; key += HONE_BLOCK) {
    int64_t keys = s->length - key < HONE_BLOCK ? s->length - key : HONE_BLOCK;
    HONE_NAME(copy_transposed)(s->k + key * s->kv_stride, s->kv_stride, keys, width, k_t);
    HONE_NAME(copy_rows)(s->v + key * s->kv_stride, s->kv_stride, keys, keys, width, padded, v);
    for (int64_t g = 0; g < groups; g++) {
      int64_t row = from + g * 4, first, last, end;
      if (!HONE_NAME(keys_of)(s, row, key, &first, &last, &end)) continue;
      HONE_NAME(multiply)(last - first, 0, width, q + g * 4 * padded, padded, 1, k_t + first * LANES, HONE_BLOCK,
                          p + first * LANES, HONE_BLOCK, 0);
      const int masked = HONE_NAME(needs_mask)(s, row, key);
      float keep[4];
      for (int64_t r = 0; r < 4; r++) {
        float *scores = p + r * HONE_BLOCK;
        vf largest = vf_set(HONE_NO_SCORE);
        for (int64_t n = first; n < last; n++) {
          vf x = vf_load(scores + n * LANES) * scale;
          if (masked) {
            int64_t at = key + n * LANES;
            x = vf_keep_between(x, s->window > 0 ? row + r - s->window + 1 - at : 0, row + r + 1 - at);
          }
          vf_store(scores + n * LANES, x);
          largest = vf_max(largest, x);
        }
        float before = most[g * 4 + r], now = vf_largest(largest);
        if (now < before) now = before;
        vf sum = vf_set(0.0f);
        for (int64_t n = first; n < last; n++) {
          vf e = vf_exp(vf_load(scores + n * LANES) - vf_set(now));
          vf_store(scores + n * LANES, e);
          sum += e;
        }
        keep[r] = before == now ? 1.0f : expf(before - now);
        most[g * 4 + r] = now;
        total[g * 4 + r] = total[g * 4 + r] * keep[r] + vf_sum(sum);
      }
      HONE_NAME(multiply)(vectors, 2, end - first * LANES, p + first * LANES, HONE_BLOCK, 1, v + first * LANES * padded,
                          padded, o + g * 4 * padded, padded, keep);
    }
  }
  for (int64_t r = 0; r < rows; r++) {
    const float inverse = 1.0f / total[r];
    float *out = s->o + (from + r) * s->q_stride;
    for (int64_t d = 0; d < width; d++) out[d] = o[r * padded + d] * inverse;
    s->lse[(from + r) * s->lse_stride] = most[r] + logf(total[r]);
  }
}

/*
 * All rows of one head of one sequence; dk and dv are this head's share. With P = exp(S - lse) and
 * delta = rowsum(dO * O): dV = P^T dO, dS = P (dO V^T - delta) scale, dQ = dS K, dK = dS^T Q.
 */
static void HONE_NAME(attention_grad)(const hone_attention_sequence *s, float *scratch) {
  const int64_t width = s->width, padded = (width + LANES - 1) / LANES * LANES, vectors = padded / LANES;
  const int64_t groups = (s->length + 3) / 4, rows = groups * 4;
  float *k_t = scratch, *v_t = k_t + width * HONE_BLOCK, *k = v_t + width * HONE_BLOCK, *dk = k + HONE_BLOCK * padded,
        *dv = dk + HONE_BLOCK * padded, *p = dv + HONE_BLOCK * padded, *ds = p + HONE_BLOCK * HONE_BLOCK,
        *q = ds + HONE_BLOCK * HONE_BLOCK, *d_o = q + rows * padded, *dq = d_o + rows * padded, *lse = dq + rows * padded,
        *delta = lse + rows;
  HONE_NAME(copy_rows)(s->q, s->q_stride, s->length, rows, width, padded, q);
  HONE_NAME(copy_rows)(s->d_o, s->q_stride, s->length, rows, width, padded, d_o);
  memset(dq, 0, (size_t)(rows * padded) * sizeof(float));
  for (int64_t r = 0; r < rows; r++) {
    lse[r] = -HONE_NO_SCORE; /* rows past the end get probability 0 */
    delta[r] = 0.0f;
    if (r >= s->length) continue;
    lse[r] = s->lse[r * s->lse_stride];
    vf sum = vf_set(0.0f);
    int64_t d = 0;
    for (; d + LANES <= width; d += LANES) sum = vf_fma(vf_load(d_o + r * padded + d), vf_load(s->o + r * s->q_stride + d), sum);
    if (d < width)
      sum = vf_fma(vf_load(d_o + r * padded + d), vf_load_first(s->o + r * s->q_stride + d, width - d), sum);
    delta[r] = vf_sum(sum);
  }
  const vf scale = vf_set(s->scale);
  for (int64_t key = 0; key < s->length; key += HONE_BLOCK) {
    const int64_t keys = s->length - key < HONE_BLOCK ? s->length - key : HONE_BLOCK;
    HONE_NAME(copy_transposed)(s->k + key * s->kv_stride, s->kv_stride, keys, width, k_t);
    HONE_NAME(copy_transposed)(s->v + key * s->kv_stride, s->kv_stride, keys, width, v_t);
    HONE_NAME(copy_rows)(s->k + key * s->kv_stride, s->kv_stride, keys, HONE_BLOCK, width, padded, k);
    memset(dk, 0, (size_t)(2 * HONE_BLOCK * padded) * sizeof(float));
    for (int64_t block = key; block < rows; block += HONE_BLOCK) {
      if (s->window > 0 && block - s->window + 1 >= key + HONE_BLOCK) break;
      const int64_t block_rows = rows - block < HONE_BLOCK ? rows - block : HONE_BLOCK;
      for (int64_t i = 0; i < block_rows; i += 4) {
        int64_t row = block + i, first, last, end;
        if (!HONE_NAME(keys_of)(s, row, key, &first, &last, &end)) continue;
        const int64_t at = i * HONE_BLOCK + first * LANES;
        HONE_NAME(multiply)(last - first, 0, width, q + row * padded, padded, 1, k_t + first * LANES, HONE_BLOCK, p + at,
                            HONE_BLOCK, 0);
        HONE_NAME(multiply)(last - first, 0, width, d_o + row * padded, padded, 1, v_t + first * LANES, HONE_BLOCK,
                            ds + at, HONE_BLOCK, 0);
        const int masked = HONE_NAME(needs_mask)(s, row, key);
        for (int64_t r = 0; r < 4; r++) {
          const vf row_lse = vf_set(lse[row + r]), row_delta = vf_set(delta[row + r]);
          float *p_row = p + (i + r) * HONE_BLOCK, *ds_row = ds + (i + r) * HONE_BLOCK;
          for (int64_t n = first; n < last; n++) {
            vf x = vf_load(p_row + n * LANES) * scale - row_lse;
            if (masked) {
              int64_t start = key + n * LANES;
              x = vf_keep_between(x, s->window > 0 ? row + r - s->window + 1 - start : 0, row + r + 1 - start);
            }
            vf e = vf_exp(x);
            vf_store(p_row + n * LANES, e);
            vf_store(ds_row + n * LANES, e * (vf_load(ds_row + n * LANES) - row_delta) * scale);
          }
        }
      }
      for (int64_t i = 0; i < block_rows; i += 4) {
        int64_t row = block + i, first, last, end;
        if (!HONE_NAME(keys_of)(s, row, key, &first, &last, &end)) continue;
        HONE_NAME(multiply)(vectors, 1, end - first * LANES, ds + i * HONE_BLOCK + first * LANES, HONE_BLOCK, 1,
                            k + first * LANES * padded, padded, dq + row * padded, padded, 0);
      }
      /* Each group of four keys takes the rows that attend to one of them; both ends are whole row groups. */
      for (int64_t pass = 0; pass < 2; pass++) {
        const float *weights = pass == 0 ? p : ds, *values = (pass == 0 ? d_o : q) + block * padded;
        float *sums = pass == 0 ? dv : dk;
        for (int64_t j = 0; j < keys; j += 4) {
          int64_t begin = key + j > block ? key + j - block : 0, stop = block_rows;
          if (s->window > 0 && (key + j + 2 + s->window) / 4 * 4 + 4 - block < stop)
            stop = (key + j + 2 + s->window) / 4 * 4 + 4 - block;
          if (stop <= begin) continue;
          HONE_NAME(multiply)(vectors, 1, stop - begin, weights + begin * HONE_BLOCK + j, 1, HONE_BLOCK,
                              values + begin * padded, padded, sums + j * padded, padded, 0);
        }
      }
    }
    for (int64_t j = 0; j < keys; j++) {
      memcpy(s->dk + (key + j) * s->dkv_stride, dk + j * padded, (size_t)width * sizeof(float));
      memcpy(s->dv + (key + j) * s->dkv_stride, dv + j * padded, (size_t)width * sizeof(float));
    }
  }
  for (int64_t r = 0; r < s->length; r++)
    memcpy(s->dq + r * s->q_stride, dq + r * padded, (size_t)width * sizeof(float));
}

/* out = the sum of `count` arrays of n numbers that lie `apart` apart, in order. */
static void HONE_NAME(attention_add)(const float *x, int64_t apart, int64_t count, int64_t n, float *out) {
  for (int64_t d = 0; d < n; d += LANES) {
    int64_t left = n - d < LANES ? n - d : LANES;
    vf sum = vf_load_first(x + d, left);
    for (int64_t c = 1; c < count; c++) sum += vf_load_first(x + c * apart + d, left);
    vf_store_first(out + d, sum, left);
  }
}
