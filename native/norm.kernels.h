/* Rows of RMSNorm and of its gradient for one instruction set; norm.c says what they are for. */

HONE_INLINE float HONE_NAME(row_dot)(const float *x, const float *y, int64_t width) {
  vf sum = vf_set(0.0f), other = vf_set(0.0f);
  int64_t i = 0;
  for (; i + 2 * LANES <= width; i += 2 * LANES) {
    sum = vf_fma(vf_load(x + i), vf_load(y + i), sum);
    other = vf_fma(vf_load(x + i + LANES), vf_load(y + i + LANES), other);
  }
  for (; i < width; i += LANES) {
    const int64_t left = width - i < LANES ? width - i : LANES;
    sum = vf_fma(vf_load_first(x + i, left), vf_load_first(y + i, left), sum);
  }
  return vf_sum(sum + other);
}

static void HONE_NAME(norm_rows)(const hone_norm *n, int64_t from, int64_t to) {
  const int64_t width = n->width, whole = width / LANES * LANES;
  for (int64_t r = from; r < to; r++) {
    const float *x = n->x + r * width;
    float *y = n->y + r * width;
    const float inverse = 1.0f / sqrtf(HONE_NAME(row_dot)(x, x, width) / (float)width + n->eps);
    n->inv_std_out[r] = inverse;
    for (int64_t i = 0; i < whole; i += LANES) vf_store(y + i, vf_load(x + i) * vf_set(inverse) * vf_load(n->w + i));
    if (whole < width) {
      const int64_t left = width - whole;
      vf_store_first(y + whole, vf_load_first(x + whole, left) * vf_set(inverse) * vf_load_first(n->w + whole, left), left);
    }
  }
}

/* dw, when there is one, is this chunk's share: set by the first row, added to by the others. */
static void HONE_NAME(norm_grad_rows)(const hone_norm *n, int64_t from, int64_t to, float *dw) {
  const int64_t width = n->width;
  for (int64_t r = from; r < to; r++) {
    const float *x = n->x + r * width, *dy = n->dy + r * width;
    float *dx = n->y + r * width;
    const float inverse = n->inv_std[r];
    vf sum = vf_set(0.0f);
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) sum = vf_fma(vf_load(x + i) * vf_load(dy + i), vf_load(n->w + i), sum);
    if (i < width) {
      const int64_t left = width - i;
      sum = vf_fma(vf_load_first(x + i, left) * vf_load_first(dy + i, left), vf_load_first(n->w + i, left), sum);
    }
    const vf scale = vf_set(inverse), pull = vf_set(-inverse * inverse * inverse * (vf_sum(sum) / (float)width));
    for (i = 0; i + LANES <= width; i += LANES) {
      const vf x_i = vf_load(x + i), dy_i = vf_load(dy + i);
      vf_store(dx + i, vf_fma(x_i, pull, dy_i * vf_load(n->w + i) * scale));
      if (dw != NULL) vf_store(dw + i, vf_fma(dy_i * scale, x_i, r == from ? vf_set(0.0f) : vf_load(dw + i)));
    }
    if (i < width) {
      const int64_t left = width - i;
      const vf x_i = vf_load_first(x + i, left), dy_i = vf_load_first(dy + i, left);
      vf_store_first(dx + i, vf_fma(x_i, pull, dy_i * vf_load_first(n->w + i, left) * scale), left);
      if (dw != NULL)
        vf_store_first(dw + i, vf_fma(dy_i * scale, x_i, r == from ? vf_set(0.0f) : vf_load_first(dw + i, left)), left);
    }
  }
}

/* out[i] = the sum over shares of shares[share][i], in order, for from <= i < to. */
static void HONE_NAME(norm_add)(const float *shares, int64_t count, int64_t width, int64_t from, int64_t to, float *out) {
  for (int64_t i = from; i < to; i += LANES) {
    const int64_t left = to - i < LANES ? to - i : LANES;
    vf sum = vf_load_first(shares + i, left);
    for (int64_t s = 1; s < count; s++) sum += vf_load_first(shares + s * width + i, left);
    vf_store_first(out + i, sum, left);
  }
}
