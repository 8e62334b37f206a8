/* A row of bf16 as floats, and a row added to another, for one instruction set. */

static void HONE_NAME(widen)(float *out, const uint16_t *row, int64_t width) {
  int64_t i = 0;
  for (; i + LANES <= width; i += LANES) vf_store(out + i, vf_load_bf16(row + i));
  if (i < width) vf_store_first(out + i, vf_load_first_bf16(row + i, width - i), width - i);
}

static void HONE_NAME(add)(float *to, const float *row, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] += row[i];
}
