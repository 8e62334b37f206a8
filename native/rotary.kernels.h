/* Rotation of the heads of some tokens for one instruction set; rotary.c says what it is for. */

static void HONE_NAME(rotary_tokens)(const hone_rotary_run *s, int64_t from, int64_t to) {
  const int64_t half = s->width / 2;
  const vf sign = vf_set(s->inverse ? -1.0f : 1.0f);
  for (int64_t t = from; t < to; t++) {
    const float *cos = s->cos + s->positions[t] * half, *sin = s->sin + s->positions[t] * half;
    for (int64_t h = 0; h < s->heads; h++) {
      const float *x = s->x + (t * s->heads + h) * s->width;
      float *y = s->y + (t * s->heads + h) * s->width;
      int64_t i = 0;
      for (; i + LANES <= half; i += LANES) {
        const vf a = vf_load(x + i), b = vf_load(x + half + i), c = vf_load(cos + i), d = vf_load(sin + i) * sign;
        vf_store(y + i, a * c - b * d);
        vf_store(y + half + i, b * c + a * d);
      }
      if (i < half) {
        const int64_t left = half - i;
        const vf a = vf_load_first(x + i, left), b = vf_load_first(x + half + i, left),
                 c = vf_load_first(cos + i, left), d = vf_load_first(sin + i, left) * sign;
        vf_store_first(y + i, a * c - b * d, left);
        vf_store_first(y + half + i, b * c + a * d, left);
      }
    }
  }
}
