/* A row of bf16 as floats, for one instruction set. */

static void HONE_NAME(widen)(float *out, const uint16_t *row, int64_t width) {
  int64_t i = 0;
  for (; i + LANES <= width; i += LANES) vf_store(out + i, vf_load_bf16(row + i));
  if (i < width) vf_store_first(out + i, vf_load_first_bf16(row + i, width - i), width - i);
}
