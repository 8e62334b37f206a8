/* A part of SwiGLU and of its gradient for one instruction set; swiglu.c says what they are for. */

HONE_INLINE vf HONE_NAME(sigmoid)(vf x) { return vf_set(1.0f) / (vf_set(1.0f) + vf_exp(vf_set(0.0f) - x)); }

static void HONE_NAME(swiglu_part)(const hone_swiglu_run *s, int64_t from, int64_t to) {
  int64_t i = from;
  for (; i + LANES <= to; i += LANES) {
    const vf g = vf_load(s->gate + i);
    vf_store(s->y + i, g * HONE_NAME(sigmoid)(g) * vf_load(s->up + i));
  }
  if (i < to) {
    const int64_t left = to - i;
    const vf g = vf_load_first(s->gate + i, left);
    vf_store_first(s->y + i, g * HONE_NAME(sigmoid)(g) * vf_load_first(s->up + i, left), left);
  }
}

/* d up = dy silu(gate), d gate = dy up sigmoid(gate) (1 + gate (1 - sigmoid(gate))). */
static void HONE_NAME(swiglu_grad_part)(const hone_swiglu_run *s, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i += LANES) {
    const int64_t left = to - i < LANES ? to - i : LANES;
    const int whole = left == LANES;
    const vf g = whole ? vf_load(s->gate + i) : vf_load_first(s->gate + i, left);
    const vf u = whole ? vf_load(s->up + i) : vf_load_first(s->up + i, left);
    const vf d = whole ? vf_load(s->dy + i) : vf_load_first(s->dy + i, left);
    const vf sigmoid = HONE_NAME(sigmoid)(g), silu = g * sigmoid;
    const vf to_gate = d * u * vf_fma(silu, vf_set(1.0f) - sigmoid, sigmoid), to_up = d * silu;
    if (whole) {
      vf_store(s->d_gate + i, to_gate);
      vf_store(s->d_up + i, to_up);
    } else {
      vf_store_first(s->d_gate + i, to_gate, left);
      vf_store_first(s->d_up + i, to_up, left);
    }
  }
}
