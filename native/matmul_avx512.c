/* The tile on AVX-512: 12 x 32 numbers of C in 24 registers. */
#include "matmul.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "transpose16.h"

#define MR 12
#define NR 32

/* As many numbers as the mask has bits, times scale; a bf16 is the upper half of a float. */
HONE_TARGET_AVX512 static inline __attribute__((always_inline)) __m512 load(const hone_vectors *p, int64_t at,
                                                                            __mmask16 some, const int is_bf16) {
  if (is_bf16) {
    const __m256i halves = _mm256_maskz_loadu_epi16(some, (const uint16_t *)p->data + at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  return _mm512_mul_ps(_mm512_maskz_loadu_ps(some, (const float *)p->data + at), _mm512_set1_ps(p->scale));
}

/* 16 vectors at most, side by side in rows of k: out[k][first ..]. */
HONE_TARGET_AVX512 static inline __attribute__((always_inline)) void copy_rows(float *out, int64_t width, int64_t first,
                                                                               const hone_vectors *p, int64_t vector,
                                                                               int64_t k, int64_t left, const int is_bf16) {
  const int64_t count = width - first < 16 ? width - first : 16, there = p->vectors - vector - first;
  const __mmask16 place = (__mmask16)((1u << count) - 1);
  const __mmask16 some = there >= 16 ? place : there > 0 ? place & (__mmask16)((1u << there) - 1) : 0;
  for (int64_t i = 0; i < left; i++) {
    const __m512 x = load(p, (k + i) * p->ld + vector + first, some, is_bf16);
    _mm512_mask_storeu_ps(out + i * width + first, place, x);
  }
}

/* The same from vectors whose k lie side by side. */
HONE_TARGET_AVX512 static inline __attribute__((always_inline)) void turn_rows(float *out, int64_t width, int64_t first,
                                                                               const hone_vectors *p, int64_t vector,
                                                                               int64_t k, int64_t left, const int is_bf16) {
  const int64_t count = width - first < 16 ? width - first : 16;
  const __mmask16 place = (__mmask16)((1u << count) - 1), length = (__mmask16)((1u << left) - 1);
  __m512i rows[16];
  for (int64_t i = 0; i < 16; i++)
    rows[i] = i < count && vector + first + i < p->vectors
                  ? _mm512_castps_si512(load(p, (vector + first + i) * p->ld + k, length, is_bf16))
                  : _mm512_setzero_si512();
  transpose16(rows);
  for (int64_t i = 0; i < left; i++)
    _mm512_mask_storeu_ps(out + i * width + first, place, _mm512_castsi512_ps(rows[i]));
}

/* A panel of `width` vectors holds, for each k, its `width` numbers. */
HONE_TARGET_AVX512 static inline __attribute__((always_inline)) void pack(char *out, int64_t panel_bytes,
                                                                          const hone_vectors *p, const int64_t width,
                                                                          const int is_bf16) {
  for (int64_t k = 0; k < p->k; k += 16) {
    const int64_t left = p->k - k < 16 ? p->k - k : 16;
    for (int64_t vector = 0; vector < p->vectors; vector += width) {
      float *to = (float *)(out + vector / width * panel_bytes) + k * width;
      for (int64_t first = 0; first < width; first += 16)
        if (p->k_contiguous) turn_rows(to, width, first, p, vector, k, left, is_bf16);
        else copy_rows(to, width, first, p, vector, k, left, is_bf16);
    }
  }
}

HONE_TARGET_AVX512 static void pack_a(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, MR, 0); }
HONE_TARGET_AVX512 static void pack_b(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, NR, 0); }
HONE_TARGET_AVX512 static void pack_b_bf16(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, NR, 1); }

HONE_TARGET_AVX512 static inline __attribute__((always_inline)) void multiply(int64_t k, const float *a, const float *b,
                                                                              float *c, int64_t ldc, int accumulate,
                                                                              const int wide) {
  __m512 sums[MR][2];
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++) {
    sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + 31, 1);
  }
  for (int64_t at = 0; at < k; at++, a += MR, b += NR) {
    const __m512 b0 = _mm512_load_ps(b), b1 = _mm512_load_ps(b + 16);
    __builtin_prefetch(b + 8 * NR);
    __builtin_prefetch(b + 8 * NR + 16);
#pragma GCC unroll 12
    for (int i = 0; i < MR; i++) {
      const __m512 x = _mm512_set1_ps(a[i]);
      sums[i][0] = _mm512_fmadd_ps(x, b0, sums[i][0]);
      if (wide) sums[i][1] = _mm512_fmadd_ps(x, b1, sums[i][1]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++) {
    float *row = c + i * ldc;
    if (accumulate) {
      sums[i][0] = _mm512_add_ps(sums[i][0], _mm512_loadu_ps(row));
      if (wide) sums[i][1] = _mm512_add_ps(sums[i][1], _mm512_loadu_ps(row + 16));
    }
    _mm512_storeu_ps(row, sums[i][0]);
    if (wide) _mm512_storeu_ps(row + 16, sums[i][1]);
  }
}

HONE_TARGET_AVX512 static void tile(int64_t k, const char *a, const char *b, float *c, int64_t ldc, int accumulate,
                                    int64_t rows, int64_t columns, const char *ahead) {
  (void)rows, (void)ahead;
  if (columns > 16) multiply(k, (const float *)a, (const float *)b, c, ldc, accumulate, 1);
  else multiply(k, (const float *)a, (const float *)b, c, ldc, accumulate, 0);
}

#define CUT {320, 256, 3}
static void nothing(void) {}

const hone_tile hone_tile_avx512 = {MR, NR, 1, CUT, CUT, 4, 4, pack_a, pack_b, tile, nothing, nothing};
const hone_tile hone_tile_avx512_bf16 = {MR, NR, 1, CUT, CUT, 4, 4, pack_a, pack_b_bf16, tile, nothing, nothing};
#endif
