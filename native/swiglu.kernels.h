/* Rows of SwiGLU and of its gradient for one instruction set; swiglu.c says what they are for. */

HONE_INLINE vf HONE_NAME(sigmoid)(vf x) { return vf_set(1.0f) / (vf_set(1.0f) + vf_exp(vf_set(0.0f) - x)); }

static void HONE_NAME(swiglu_rows)(const hone_swiglu_run *s, int64_t from, int64_t to) {
  for (int64_t r = from; r < to; r++) {
    const float *gate = s->gate_up + r * 2 * s->ffn, *up = gate + s->ffn;
    float *y = s->out + r * s->ffn;
    int64_t i = 0;
    for (; i + LANES <= s->ffn; i += LANES) {
      const vf g = vf_load(gate + i);
      vf_store(y + i, g * HONE_NAME(sigmoid)(g) * vf_load(up + i));
    }
    if (i < s->ffn) {
      const int64_t left = s->ffn - i;
      const vf g = vf_load_first(gate + i, left);
      vf_store_first(y + i, g * HONE_NAME(sigmoid)(g) * vf_load_first(up + i, left), left);
    }
  }
}

/* d up = dy silu(gate), d gate = dy up sigmoid(gate) (1 + gate (1 - sigmoid(gate))). */
static void HONE_NAME(swiglu_grad_rows)(const hone_swiglu_run *s, int64_t from, int64_t to) {
  for (int64_t r = from; r < to; r++) {
    const float *gate = s->gate_up + r * 2 * s->ffn, *up = gate + s->ffn, *dy = s->dy + r * s->ffn;
    float *d_gate = s->out + r * 2 * s->ffn, *d_up = d_gate + s->ffn;
    for (int64_t i = 0; i < s->ffn; i += LANES) {
      const int64_t left = s->ffn - i < LANES ? s->ffn - i : LANES;
      const int whole = left == LANES;
      const vf g = whole ? vf_load(gate + i) : vf_load_first(gate + i, left);
      const vf u = whole ? vf_load(up + i) : vf_load_first(up + i, left);
      const vf d = whole ? vf_load(dy + i) : vf_load_first(dy + i, left);
      const vf sigmoid = HONE_NAME(sigmoid)(g), silu = g * sigmoid;
      const vf to_gate = d * u * vf_fma(silu, vf_set(1.0f) - sigmoid, sigmoid), to_up = d * silu;
      if (whole) {
        vf_store(d_gate + i, to_gate);
        vf_store(d_up + i, to_up);
      } else {
        vf_store_first(d_gate + i, to_gate, left);
        vf_store_first(d_up + i, to_up, left);
      }
    }
  }
}
