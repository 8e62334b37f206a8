/* Rows of logits for one instruction set; logprobs.c says what they are for. */

#define NUMBERS_PER_SUM 1024

static float HONE_NAME(row_largest)(const float *x, int64_t count) {
  vf a = vf_set(-INFINITY), b = a;
  int64_t i = 0;
  for (; i + 2 * LANES <= count; i += 2 * LANES) {
    a = vf_max(a, vf_load(x + i));
    b = vf_max(b, vf_load(x + i + LANES));
  }
  float largest = vf_largest(vf_max(a, b));
  for (; i < count; i++)
    if (x[i] > largest) largest = x[i];
  return largest;
}

/* The sum of exp(x - shift); x becomes these numbers when `keep` is not 0. */
static double HONE_NAME(row_exp)(float *x, int64_t count, float shift, int keep) {
  const vf minus = vf_set(-shift);
  double total = 0;
  for (int64_t from = 0; from < count; from += NUMBERS_PER_SUM) {
    const int64_t end = from + NUMBERS_PER_SUM < count ? from + NUMBERS_PER_SUM : count;
    vf sum = vf_set(0.0f);
    int64_t i = from;
    for (; i + LANES <= end; i += LANES) {
      const vf e = vf_exp(vf_load(x + i) + minus);
      if (keep) vf_store(x + i, e);
      sum += e;
    }
    if (i < end) {
      float rest[LANES];
      vf_store(rest, vf_exp(vf_load_first(x + i, end - i) + minus));
      for (int64_t r = 0; i + r < end; r++) {
        if (keep) x[i + r] = rest[r];
        total += rest[r];
      }
    }
    total += vf_sum(sum);
  }
  return total;
}

/* The sum of exp(x - shift), and that of exp(x - shift) (x - shift). */
static double HONE_NAME(row_exp_moment)(const float *x, int64_t count, float shift, double *moment) {
  const vf minus = vf_set(-shift);
  double total = 0;
  *moment = 0;
  for (int64_t from = 0; from < count; from += NUMBERS_PER_SUM) {
    const int64_t end = from + NUMBERS_PER_SUM < count ? from + NUMBERS_PER_SUM : count;
    vf sum = vf_set(0.0f), first = vf_set(0.0f);
    int64_t i = from;
    for (; i + LANES <= end; i += LANES) {
      const vf below = vf_load(x + i) + minus, e = vf_exp(below);
      sum += e;
      first = vf_fma(e, below, first);
    }
    if (i < end) {
      float rest[LANES];
      vf_store(rest, vf_exp(vf_load_first(x + i, end - i) + minus));
      for (int64_t r = 0; i + r < end; r++) {
        total += rest[r];
        *moment += (double)rest[r] * (x[i + r] - shift);
      }
    }
    total += vf_sum(sum);
    *moment += vf_sum(first);
  }
  return total;
}

/* x = factor exp(x - shift). */
static void HONE_NAME(row_softmax)(float *x, int64_t count, float shift, float factor) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) vf_store(x + i, vf_set(factor) * vf_exp(vf_load(x + i) - vf_set(shift)));
  if (i < count) {
    const vf e = vf_set(factor) * vf_exp(vf_load_first(x + i, count - i) - vf_set(shift));
    vf_store_first(x + i, e, count - i);
  }
}

/* x = (a + b (x - shift)) exp(x - shift). */
static void HONE_NAME(row_softmax_moment)(float *x, int64_t count, float shift, float a, float b) {
  for (int64_t i = 0; i < count; i += LANES) {
    const int64_t left = count - i < LANES ? count - i : LANES;
    const vf below = vf_load_first(x + i, left) - vf_set(shift);
    vf_store_first(x + i, vf_fma(vf_set(b), below, vf_set(a)) * vf_exp(below), left);
  }
}

/* x = a x + b y; y may be NULL when b is 0. */
static void HONE_NAME(row_combine)(float *x, int64_t count, float a, const float *y, float b) {
  for (int64_t i = 0; i < count; i += LANES) {
    const int64_t left = count - i < LANES ? count - i : LANES;
    vf sum = vf_load_first(x + i, left) * vf_set(a);
    if (y != NULL) sum = vf_fma(vf_load_first(y + i, left), vf_set(b), sum);
    vf_store_first(x + i, sum, left);
  }
}

static void HONE_NAME(row_combine_bf16)(float *x, int64_t count, float a, const uint16_t *y, float b) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    vf_store(x + i, vf_fma(vf_load_bf16(y + i), vf_set(b), vf_load(x + i) * vf_set(a)));
  if (i < count) {
    const vf sum = vf_fma(vf_load_first_bf16(y + i, count - i), vf_set(b), vf_load_first(x + i, count - i) * vf_set(a));
    vf_store_first(x + i, sum, count - i);
  }
}
