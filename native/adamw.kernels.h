/* A stretch of AdamW and of a sum of squares for one instruction set; adamw.c says what they are for. */

HONE_INLINE void HONE_NAME(adamw_vector)(const hone_adamw_run *s, vf g, vf *p, vf *m, vf *v) {
  g = g * vf_set(s->grad_scale);
  *m = vf_fma(g - *m, vf_set(s->one_minus_beta1), *m);
  *v = vf_fma(g * g, vf_set(s->one_minus_beta2), *v * vf_set(s->beta2));
  const vf spread = vf_sqrt(*v) / vf_set(s->root_correction2) + vf_set(s->eps);
  *p = *p * vf_set(s->decay) - *m * vf_set(s->rate) / spread;
}

static void HONE_NAME(adamw_stretch)(const hone_adamw_run *s, int64_t from, int64_t to) {
  int64_t i = from;
  for (; i + LANES <= to; i += LANES) {
    vf p = vf_load(s->p + i), m = vf_load(s->m + i), v = vf_load(s->v + i);
    HONE_NAME(adamw_vector)(s, vf_load(s->g + i), &p, &m, &v);
    vf_store(s->p + i, p);
    vf_store(s->m + i, m);
    vf_store(s->v + i, v);
  }
  if (i < to) {
    const int64_t left = to - i;
    vf p = vf_load_first(s->p + i, left), m = vf_load_first(s->m + i, left), v = vf_load_first(s->v + i, left);
    HONE_NAME(adamw_vector)(s, vf_load_first(s->g + i, left), &p, &m, &v);
    vf_store_first(s->p + i, p, left);
    vf_store_first(s->m + i, m, left);
    vf_store_first(s->v + i, v, left);
  }
}

static double HONE_NAME(squares)(const float *x, int64_t count) {
  double sums[16] = {0};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int lane = 0; lane < 16; lane++) sums[lane] += (double)x[i + lane] * (double)x[i + lane];
  for (int lane = 0; i < count; i++, lane++) sums[lane] += (double)x[i] * (double)x[i];
  double sum = 0;
  for (int lane = 0; lane < 16; lane++) sum += sums[lane];
  return sum;
}
