/*
 * The inner loops of attention for one instruction set; attention.c says what they are for.
 *
 * Everything is a product of four rows with a block, C[4, n] = start C + A[4, depth] B[depth, n], A in any layout.
 * Keys come in blocks of HONE_BLOCK. A block of k or v is copied transposed ([width][HONE_BLOCK]) where its rows are
 * the columns of a product, and padded to whole vectors where its rows are the depth. Rows come in groups of four;
 * a group is multiplied only with the vectors of keys that at least one of its rows attends to.
 */

#define TILE_VECTORS (LANES == 16 ? 4 : 2)

HONE_INLINE void HONE_NAME(tile)(const int vectors, int start, int64_t depth, const float *a, int64_t a_row,
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

/* Not inlined: the callers have constants of their own to keep in registers. */
#define HONE_TILE_OF(count)                                                                                            \
  static __attribute__((noinline)) void HONE_NAME(tile_##count)(                                                       \
      int start, int64_t depth, const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_step, float *c, \
      int64_t c_row, const float *keep) {                                                                              \
    HONE_NAME(tile)(count, start, depth, a, a_row, a_step, b, b_step, c, c_row, keep);                                 \
  }
HONE_TILE_OF(1)
HONE_TILE_OF(2)
#if HONE_LANES == 16
HONE_TILE_OF(3)
HONE_TILE_OF(4)
#endif
#undef HONE_TILE_OF

/* C = start A B over `vectors` vectors of columns. start: 0 sets C, 1 adds to it, 2 adds to keep[row] times it. */
HONE_INLINE void HONE_NAME(multiply)(int64_t vectors, int start, int64_t depth, const float *a, int64_t a_row,
                                     int64_t a_step, const float *b, int64_t b_step, float *c, int64_t c_row,
                                     const float *keep) {
  while (vectors > 0) {
    int64_t now = vectors < TILE_VECTORS ? vectors : TILE_VECTORS;
    switch (now) {
      case 1: HONE_NAME(tile_1)(start, depth, a, a_row, a_step, b, b_step, c, c_row, keep); break;
      case 2: HONE_NAME(tile_2)(start, depth, a, a_row, a_step, b, b_step, c, c_row, keep); break;
#if HONE_LANES == 16
      case 3: HONE_NAME(tile_3)(start, depth, a, a_row, a_step, b, b_step, c, c_row, keep); break;
      default: HONE_NAME(tile_4)(start, depth, a, a_row, a_step, b, b_step, c, c_row, keep); break;
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
  const int64_t whole = width / LANES * LANES;
  for (int64_t r = 0; r < rows; r++, x += stride, out += padded) {
    for (int64_t d = 0; d < whole; d += LANES) vf_store(out + d, vf_load(x + d));
    if (whole < width) vf_store(out + whole, vf_load_first(x + whole, width - whole));
  }
  if (rows < all_rows) memset(out, 0, (size_t)((all_rows - rows) * padded) * sizeof(float));
}

/* Asks for four rows that will be written: they are taken from memory while something else is computed. */
HONE_INLINE void HONE_NAME(expect_rows)(float *x, int64_t stride, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < 4 && r < rows; r++, x += stride)
    for (int64_t d = 0; d < width; d += 16) __builtin_prefetch(x + d, 1, 2);
}

/* The other way: row r of x gets `width` of the `padded` numbers of row r of from, times `by[r]` when by is given. */
HONE_INLINE void HONE_NAME(copy_back)(const float *from, int64_t padded, int64_t rows, int64_t width, const float *by,
                                      float *x, int64_t stride) {
  const int64_t whole = width / LANES * LANES;
  for (int64_t r = 0; r < rows; r++, x += stride, from += padded) {
    const vf factor = vf_set(by == NULL ? 1.0f : by[r]);
    for (int64_t d = 0; d < whole; d += LANES) vf_store(x + d, vf_load(from + d) * factor);
    if (whole < width) vf_store_first(x + whole, vf_load(from + whole) * factor, width - whole);
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
HONE_INLINE int HONE_NAME(keys_of)(const hone_attention_tree *s, int64_t row, int64_t key, int64_t *first,
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

/* A block of keys of a tree: the row behind the last that sees one of them, and whether not all see all of them. */
typedef struct {
  int64_t seen;
  int mixed;
} HONE_NAME(key_block);

HONE_INLINE HONE_NAME(key_block) HONE_NAME(block_of)(const hone_attention_tree *s, int64_t key, int64_t keys) {
  if (s->ends == NULL) return (HONE_NAME(key_block)){.seen = s->length};
  float least = s->ends[key], most = least;
  for (int64_t i = key + 1; i < key + keys; i++) {
    if (s->ends[i] < least) least = s->ends[i];
    if (s->ends[i] > most) most = s->ends[i];
  }
  return (HONE_NAME(key_block)){.seen = (int64_t)most, .mixed = least < most || s->positions != NULL};
}

/* Whether some row of the group does not see some key of the block because it belongs to another branch. */
HONE_INLINE int HONE_NAME(needs_ends)(const hone_attention_tree *s, HONE_NAME(key_block) block, int64_t row) {
  return s->ends != NULL && (block.mixed || row + 4 > block.seen);
}

/* Minus infinity where `row` does not see the key of a lane: another branch's, or one that the window left behind. */
HONE_INLINE vf HONE_NAME(keep_seen)(const hone_attention_tree *s, vf x, int64_t row, int64_t key) {
  vi keep = (vi)(vf_load(s->ends + key) > vf_set((float)row));
  if (s->positions != NULL)
    keep &= (vi)(vf_load(s->positions + key) > vf_set(s->positions[row] - s->reach));
  return vf_where(keep, x, vf_set(-INFINITY));
}

/* Whether some row of the group does not attend to some key of the block. */
HONE_INLINE int HONE_NAME(needs_mask)(const hone_attention_tree *s, int64_t row, int64_t key) {
  return key + HONE_BLOCK - 1 > row || (s->window > 0 && row + 3 - s->window + 1 > key);
}

/* Four rows of scores [4][HONE_BLOCK], from the vector whose first key is `key`. */
typedef struct {
  const hone_attention_tree *s;
  int64_t row, key;
  int masked, branched;
  float *scores, *most, *total;
} HONE_NAME(four_rows);

/*
 * The online softmax of `count` vectors: scores become exp(score - most), most and total take them in, and keep is what
 * the rows' sums so far must be multiplied by.
 */
HONE_INLINE void HONE_NAME(softmax)(const HONE_NAME(four_rows) * rows, const int count, float *keep) {
  const hone_attention_tree *s = rows->s;
  const vf scale = vf_set(s->scale);
  vf largest[4], sum[4];
  float now[4], added[4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++) {
    float *scores = rows->scores + r * HONE_BLOCK;
    largest[r] = vf_set(HONE_NO_SCORE);
#pragma GCC unroll 4
    for (int n = 0; n < count; n++) {
      vf x = vf_load(scores + n * LANES) * scale;
      if (rows->masked) {
        const int64_t row = rows->row + r, at = rows->key + n * LANES;
        x = vf_keep_between(x, s->window > 0 ? row - s->window + 1 - at : 0, row + 1 - at);
      }
      if (rows->branched) x = HONE_NAME(keep_seen)(s, x, rows->row + r, rows->key + n * LANES);
      vf_store(scores + n * LANES, x);
      largest[r] = vf_max(largest[r], x);
    }
  }
  vf_largest4(largest, now);
  for (int r = 0; r < 4; r++) {
    now[r] = now[r] > rows->most[r] ? now[r] : rows->most[r];
    keep[r] = rows->most[r] - now[r];
    rows->most[r] = now[r];
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++) {
    float *scores = rows->scores + r * HONE_BLOCK;
    sum[r] = vf_set(0.0f);
#pragma GCC unroll 4
    for (int n = 0; n < count; n++) {
      const vf e = vf_exp(vf_load(scores + n * LANES) - vf_set(now[r]));
      vf_store(scores + n * LANES, e);
      sum[r] += e;
    }
  }
  vf_sum4(sum, added);
  vf_store_first(keep, vf_exp(vf_load_first(keep, 4)), 4);
  for (int r = 0; r < 4; r++) rows->total[r] = rows->total[r] * keep[r] + added[r];
}

/* With the count known to the compiler, where a block has few vectors. */
HONE_INLINE void HONE_NAME(softmax_any)(const HONE_NAME(four_rows) * rows, int64_t count, float *keep) {
#if HONE_LANES == 16
  switch (count) {
    case 1: HONE_NAME(softmax)(rows, 1, keep); break;
    case 2: HONE_NAME(softmax)(rows, 2, keep); break;
    case 3: HONE_NAME(softmax)(rows, 3, keep); break;
    default: HONE_NAME(softmax)(rows, 4, keep); break;
  }
#else
  HONE_NAME(softmax)(rows, (int)count, keep);
#endif
}

/* Rows from .. to of one head of one tree. attention.c knows how long scratch must be. */
static void HONE_NAME(attention_rows)(const hone_attention_tree *s, int64_t from, int64_t to, float *scratch) {
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
  int64_t low = s->window > 0 && from - s->window + 1 > 0 ? from - s->window + 1 : 0;
  for (int64_t key = low / HONE_BLOCK * HONE_BLOCK; key < to; key += HONE_BLOCK) {
    int64_t keys = s->length - key < HONE_BLOCK ? s->length - key : HONE_BLOCK;
    const HONE_NAME(key_block) block = HONE_NAME(block_of)(s, key, keys);
    if (block.seen <= from) continue;
    const int64_t last_group = block.seen < to ? (block.seen - from + 3) / 4 : groups;
    HONE_NAME(copy_transposed)(s->k + key * s->kv_stride, s->kv_stride, keys, width, k_t);
    HONE_NAME(copy_rows)(s->v + key * s->kv_stride, s->kv_stride, keys, keys, width, padded, v);
    for (int64_t g = key > from ? (key - from) / 4 : 0; g < last_group; g++) {
      int64_t row = from + g * 4, first, last, end;
      if (!HONE_NAME(keys_of)(s, row, key, &first, &last, &end)) continue;
      float *scores = p + first * LANES, keep[4];
      if (row >= key && row < key + HONE_BLOCK)
        HONE_NAME(expect_rows)(s->o + row * s->q_stride, s->q_stride, to - row, width);
      HONE_NAME(multiply)(last - first, 0, width, q + g * 4 * padded, padded, 1, k_t + first * LANES, HONE_BLOCK, scores,
                          HONE_BLOCK, 0);
      const HONE_NAME(four_rows) four = {.s = s, .row = row, .key = key + first * LANES, .scores = scores,
                                         .masked = HONE_NAME(needs_mask)(s, row, key),
                                         .branched = HONE_NAME(needs_ends)(s, block, row), .most = most + g * 4,
                                         .total = total + g * 4};
      HONE_NAME(softmax_any)(&four, last - first, keep);
      HONE_NAME(multiply)(vectors, 2, end - first * LANES, scores, HONE_BLOCK, 1, v + first * LANES * padded, padded,
                          o + g * 4 * padded, padded, keep);
    }
  }
  for (int64_t r = 0; r < rows; r += LANES) {
    const int64_t left = rows - r < LANES ? rows - r : LANES;
    vf sum = vf_load_first(total + r, left);
    float lse[LANES];
    vf_store(lse, vf_load_first(most + r, left) + vf_log(sum));
    vf_store_first(total + r, vf_set(1.0f) / sum, left);
    for (int64_t i = 0; i < left; i++) s->lse[(from + r + i) * s->lse_stride] = lse[i];
  }
  HONE_NAME(copy_back)(o, padded, rows, width, total, s->o + from * s->q_stride, s->q_stride);
}

/* Scores become probabilities, and ds, which holds dO V^T, the gradient of q.k. */
HONE_INLINE void HONE_NAME(score_grad)(const HONE_NAME(four_rows) * rows, const int count, const float *lse,
                                       const float *delta, float *ds) {
  const hone_attention_tree *s = rows->s;
  const vf scale = vf_set(s->scale);
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++) {
    const vf row_lse = vf_set(lse[r]), row_delta = vf_set(delta[r]);
#pragma GCC unroll 4
    for (int n = 0; n < count; n++) {
      const int64_t at = r * HONE_BLOCK + n * LANES;
      vf x = vf_load(rows->scores + at) * scale - row_lse;
      if (rows->masked) {
        const int64_t row = rows->row + r, start = rows->key + n * LANES;
        x = vf_keep_between(x, s->window > 0 ? row - s->window + 1 - start : 0, row + 1 - start);
      }
      if (rows->branched) x = HONE_NAME(keep_seen)(s, x, rows->row + r, rows->key + n * LANES);
      const vf e = vf_exp(x);
      vf_store(rows->scores + at, e);
      vf_store(ds + at, e * (vf_load(ds + at) - row_delta) * scale);
    }
  }
}

HONE_INLINE void HONE_NAME(score_grad_any)(const HONE_NAME(four_rows) * rows, int64_t count, const float *lse,
                                           const float *delta, float *ds) {
#if HONE_LANES == 16
  switch (count) {
    case 1: HONE_NAME(score_grad)(rows, 1, lse, delta, ds); break;
    case 2: HONE_NAME(score_grad)(rows, 2, lse, delta, ds); break;
    case 3: HONE_NAME(score_grad)(rows, 3, lse, delta, ds); break;
    default: HONE_NAME(score_grad)(rows, 4, lse, delta, ds); break;
  }
#else
  HONE_NAME(score_grad)(rows, (int)count, lse, delta, ds);
#endif
}

/*
 * All rows of one head of one tree; dk and dv are this head's share. With P = exp(S - lse) and
 * delta = rowsum(dO * O): dV = P^T dO, dS = P (dO V^T - delta) scale, dQ = dS K, dK = dS^T Q.
 */
static void HONE_NAME(attention_grad)(const hone_attention_tree *s, float *scratch) {
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
  for (int64_t key = 0; key < s->length; key += HONE_BLOCK) {
    const int64_t keys = s->length - key < HONE_BLOCK ? s->length - key : HONE_BLOCK;
    HONE_NAME(copy_transposed)(s->k + key * s->kv_stride, s->kv_stride, keys, width, k_t);
    HONE_NAME(copy_transposed)(s->v + key * s->kv_stride, s->kv_stride, keys, width, v_t);
    HONE_NAME(copy_rows)(s->k + key * s->kv_stride, s->kv_stride, keys, HONE_BLOCK, width, padded, k);
    memset(dk, 0, (size_t)(2 * HONE_BLOCK * padded) * sizeof(float));
    const HONE_NAME(key_block) of_keys = HONE_NAME(block_of)(s, key, keys);
    const int64_t last_row = (of_keys.seen + 3) / 4 * 4;
    for (int64_t block = key; block < last_row; block += HONE_BLOCK) {
      if (s->window > 0 && block - s->window + 1 >= key + HONE_BLOCK) break;
      const int64_t block_rows = last_row - block < HONE_BLOCK ? last_row - block : HONE_BLOCK;
      for (int64_t i = 0; i < block_rows; i += 4) {
        int64_t row = block + i, first, last, end;
        if (!HONE_NAME(keys_of)(s, row, key, &first, &last, &end)) continue;
        const int64_t at = i * HONE_BLOCK + first * LANES;
        if (block == key) {
          HONE_NAME(expect_rows)(s->dq + row * s->q_stride, s->q_stride, s->length - row, width);
          HONE_NAME(expect_rows)(s->dk + row * s->dkv_stride, s->dkv_stride, s->length - row, width);
          HONE_NAME(expect_rows)(s->dv + row * s->dkv_stride, s->dkv_stride, s->length - row, width);
        }
        HONE_NAME(multiply)(last - first, 0, width, q + row * padded, padded, 1, k_t + first * LANES, HONE_BLOCK, p + at,
                            HONE_BLOCK, 0);
        HONE_NAME(multiply)(last - first, 0, width, d_o + row * padded, padded, 1, v_t + first * LANES, HONE_BLOCK,
                            ds + at, HONE_BLOCK, 0);
        const HONE_NAME(four_rows) four = {.s = s, .row = row, .key = key + first * LANES, .scores = p + at,
                                           .masked = HONE_NAME(needs_mask)(s, row, key),
                                           .branched = HONE_NAME(needs_ends)(s, of_keys, row)};
        HONE_NAME(score_grad_any)(&four, last - first, lse + row, delta + row, ds + at);
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
    HONE_NAME(copy_back)(dk, padded, keys, width, NULL, s->dk + key * s->dkv_stride, s->dkv_stride);
    HONE_NAME(copy_back)(dv, padded, keys, width, NULL, s->dv + key * s->dkv_stride, s->dkv_stride);
    /* No later key is attended to by these rows. */
    HONE_NAME(copy_back)(dq + key * padded, padded, keys, width, NULL, s->dq + key * s->q_stride, s->q_stride);
  }
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
