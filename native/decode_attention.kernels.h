/*
 * Attention over pages for one instruction set; decode_attention.c says what it is for.
 *
 * Keys are taken four vectors at a time: their scores, the online softmax, then their values. A row that does not see a
 * key gives it the weight 0, so what a row computes does not depend on the rows beside it.
 */

#define BLOCK_KEYS (4 * LANES)

/* Number `key` of a page's keys or values: its page, and where in it. */
HONE_INLINE const float *HONE_NAME(page_of)(const hone_decode_rows *s, const float *base, int64_t key) {
  return base + s->pages[0][key / HONE_CACHE_PAGE] * s->page_stride;
}

/* scores[r][n] = q[r] . k[key + n], for `vectors` vectors of keys from `key`. */
HONE_INLINE void HONE_NAME(decode_scores)(const hone_decode_rows *s, const int rows, const int vectors, int64_t key,
                                          float scores[MOST_ROWS][BLOCK_KEYS]) {
  const float *k[4];
  vf sum[MOST_ROWS][4];
#pragma GCC unroll 4
  for (int n = 0; n < vectors; n++) {
    const int64_t at = key + n * LANES;
    k[n] = HONE_NAME(page_of)(s, s->keys, at) + at % HONE_CACHE_PAGE;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) sum[r][n] = vf_set(0.0f);
  }
  for (int64_t d = 0; d < s->width; d++) {
    vf row[4];
#pragma GCC unroll 4
    for (int n = 0; n < vectors; n++) row[n] = vf_load(k[n] + d * HONE_CACHE_PAGE);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
      const vf x = vf_set(s->q[r][d]);
#pragma GCC unroll 4
      for (int n = 0; n < vectors; n++) sum[r][n] = vf_fma(x, row[n], sum[r][n]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int n = 0; n < vectors; n++) vf_store(scores[r] + n * LANES, sum[r][n]);
}

/* Scores become weights; what was summed so far is to be multiplied by the result. */
HONE_INLINE float HONE_NAME(decode_softmax)(const hone_decode_rows *s, int r, int64_t vectors, int64_t key, float *scores,
                                            float *most, float *total) {
  const int64_t position = s->positions[r], low = s->window > 0 ? position - s->window + 1 : 0;
  const vf scale = vf_set(s->scale);
  vf largest = vf_set(-1e30f), sum = vf_set(0.0f);
  for (int64_t n = 0; n < vectors; n++) {
    const int64_t at = key + n * LANES;
    const vf x = vf_keep_between(vf_load(scores + n * LANES) * scale, low - at, position + 1 - at);
    vf_store(scores + n * LANES, x);
    largest = vf_max(largest, x);
  }
  float now = vf_largest(largest);
  if (now < *most) now = *most;
  for (int64_t n = 0; n < vectors; n++) {
    const vf e = vf_exp(vf_load(scores + n * LANES) - vf_set(now));
    vf_store(scores + n * LANES, e);
    sum += e;
  }
  float keep;
  vf_store_first(&keep, vf_exp(vf_set(*most - now)), 1);
  *total = *total * keep + vf_sum(sum);
  *most = now;
  return keep;
}

/* acc[r] = keep[r] acc[r] + weights[r] V over `keys` keys, for `wide` vectors of columns from d (the last one `tail` long). */
HONE_INLINE void HONE_NAME(decode_mix)(const hone_decode_rows *s, const int rows, const int wide, int64_t tail, int64_t d,
                                       int64_t key, int64_t keys, float weights[MOST_ROWS][BLOCK_KEYS],
                                       const float *keep, float *acc) {
  vf sum[MOST_ROWS][4];
#pragma GCC unroll 4
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int n = 0; n < wide; n++) sum[r][n] = vf_load(acc + r * s->padded + d + n * LANES) * vf_set(keep[r]);
  for (int64_t first = 0; first < keys; first += HONE_CACHE_PAGE) {
    const float *v = HONE_NAME(page_of)(s, s->values, key + first) + d;
    const int64_t end = keys - first < HONE_CACHE_PAGE ? keys - first : HONE_CACHE_PAGE;
    for (int64_t j = 0; j < end; j++, v += s->width) {
      vf row[4];
#pragma GCC unroll 4
      for (int n = 0; n < wide; n++) row[n] = tail < LANES ? vf_load_first(v + n * LANES, tail) : vf_load(v + n * LANES);
#pragma GCC unroll 4
      for (int r = 0; r < rows; r++) {
        const vf x = vf_set(weights[r][first + j]);
#pragma GCC unroll 4
        for (int n = 0; n < wide; n++) sum[r][n] = vf_fma(x, row[n], sum[r][n]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int n = 0; n < wide; n++) vf_store(acc + r * s->padded + d + n * LANES, sum[r][n]);
}

HONE_INLINE void HONE_NAME(decode_block)(const hone_decode_rows *s, const int rows, int64_t key, int64_t keys,
                                         float *most, float *total, float *acc) {
  float scores[MOST_ROWS][BLOCK_KEYS] __attribute__((aligned(64)));
  float keep[MOST_ROWS];
  const int64_t vectors = (keys + LANES - 1) / LANES;
  switch (vectors) {
    case 1: HONE_NAME(decode_scores)(s, rows, 1, key, scores); break;
    case 2: HONE_NAME(decode_scores)(s, rows, 2, key, scores); break;
    case 3: HONE_NAME(decode_scores)(s, rows, 3, key, scores); break;
    default: HONE_NAME(decode_scores)(s, rows, 4, key, scores); break;
  }
  for (int r = 0; r < rows; r++)
    keep[r] = HONE_NAME(decode_softmax)(s, r, vectors, key, scores[r], most + r, total + r);
  int64_t d = 0;
  for (; d + 4 * LANES <= s->width; d += 4 * LANES)
    HONE_NAME(decode_mix)(s, rows, 4, LANES, d, key, keys, scores, keep, acc);
  for (; d + LANES <= s->width; d += LANES) HONE_NAME(decode_mix)(s, rows, 1, LANES, d, key, keys, scores, keep, acc);
  if (d < s->width) HONE_NAME(decode_mix)(s, rows, 1, s->width - d, d, key, keys, scores, keep, acc);
}

/* The block at `key` for rows that find it in the same pages. */
HONE_INLINE void HONE_NAME(decode_together)(const hone_decode_rows *s, int64_t key, float *most, float *total, float *acc) {
  int64_t last = s->positions[0];
  for (int64_t r = 1; r < s->count; r++)
    if (s->positions[r] > last) last = s->positions[r];
  if (key > last) return;
  const int64_t keys = last + 1 - key < BLOCK_KEYS ? last + 1 - key : BLOCK_KEYS;
  switch (s->count) {
    case 1: HONE_NAME(decode_block)(s, 1, key, keys, most, total, acc); break;
    case 2: HONE_NAME(decode_block)(s, 2, key, keys, most, total, acc); break;
    case 3: HONE_NAME(decode_block)(s, 3, key, keys, most, total, acc); break;
    default: HONE_NAME(decode_block)(s, 4, key, keys, most, total, acc); break;
  }
}

/* Whether all rows that see keys of the block at `key` find them in the same pages. */
HONE_INLINE int HONE_NAME(same_pages)(const hone_decode_rows *s, int64_t key) {
  for (int64_t r = 1; r < s->count; r++) {
    if (s->pages[r] == s->pages[0]) continue;
    const int64_t nearer = s->positions[r] < s->positions[0] ? s->positions[r] : s->positions[0];
    const int64_t farther = s->positions[r] < s->positions[0] ? s->positions[0] : s->positions[r];
    const int64_t end = key + BLOCK_KEYS - 1 < farther ? key + BLOCK_KEYS - 1 : farther;
    /* Pages of the one that is behind are looked at no further than it has any. */
    if (end > nearer) return 0;
    for (int64_t page = key / HONE_CACHE_PAGE; page <= end / HONE_CACHE_PAGE; page++)
      if (s->pages[r][page] != s->pages[0][page]) return 0;
  }
  return 1;
}

/* o of the rows: `acc` holds their sums, [MOST_ROWS][padded]. */
static void HONE_NAME(decode_rows)(const hone_decode_rows *s, float *acc) {
  float most[MOST_ROWS], total[MOST_ROWS];
  int64_t first = s->positions[0], last = s->positions[0];
  for (int64_t r = 0; r < s->count; r++) {
    most[r] = -1e30f;
    total[r] = 0.0f;
    if (s->positions[r] < first) first = s->positions[r];
    if (s->positions[r] > last) last = s->positions[r];
  }
  memset(acc, 0, (size_t)(s->count * s->padded) * sizeof(float));
  int64_t key = s->window > 0 && first >= s->window ? (first - s->window + 1) / BLOCK_KEYS * BLOCK_KEYS : 0;
  for (; key <= last && HONE_NAME(same_pages)(s, key); key += BLOCK_KEYS) HONE_NAME(decode_together)(s, key, most, total, acc);
  if (key <= last)
    for (int64_t r = 0; r < s->count; r++) {
      hone_decode_rows one = *s;
      one.count = 1;
      one.pages[0] = s->pages[r];
      one.q[0] = s->q[r];
      one.positions[0] = s->positions[r];
      for (int64_t at = key; at <= s->positions[r]; at += BLOCK_KEYS)
        HONE_NAME(decode_together)(&one, at, most + r, total + r, acc + r * s->padded);
    }
  for (int64_t r = 0; r < s->count; r++) {
    const vf by = vf_set(1.0f / total[r]);
    int64_t d = 0;
    for (; d + LANES <= s->width; d += LANES) vf_store(s->o[r] + d, vf_load(acc + r * s->padded + d) * by);
    if (d < s->width) vf_store_first(s->o[r] + d, vf_load(acc + r * s->padded + d) * by, s->width - d);
  }
}

#undef BLOCK_KEYS
