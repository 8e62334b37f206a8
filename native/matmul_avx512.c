/* The tile on AVX-512: 12 x 32 numbers of C in 24 registers. */
#include "matmul.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "transpose16.h"

#define MR 12
#define NR 32

/* Packed panel of `width` vectors: for each k, its `width` numbers. */
HONE_TARGET_AVX512 static inline __attribute__((always_inline)) void pack(float *out, const hone_panel *p, int64_t width) {
  const __m512 scale = _mm512_set1_ps(p->scale);
  for (int64_t first = 0; first < width; first += 16) {
    const int64_t count = width - first < 16 ? width - first : 16;
    const int64_t there = p->vectors - first;
    const __mmask16 place = (__mmask16)((1u << count) - 1);
    const __mmask16 some = there >= 16 ? 0xffff : there > 0 ? (__mmask16)((1u << there) - 1) : 0;
    if (!p->k_contiguous) {
      for (int64_t k = 0; k < p->k; k++) {
        const __m512 x = _mm512_maskz_loadu_ps(some & place, p->data + k * p->ld + first);
        _mm512_mask_storeu_ps(out + k * width + first, place, _mm512_mul_ps(x, scale));
      }
      continue;
    }
    for (int64_t k = 0; k < p->k; k += 16) {
      const int64_t left = p->k - k < 16 ? p->k - k : 16;
      const __mmask16 length = (__mmask16)((1u << left) - 1);
      __m512i rows[16];
      for (int64_t i = 0; i < 16; i++)
        rows[i] = i < count && first + i < p->vectors
                      ? _mm512_castps_si512(_mm512_mul_ps(
                            _mm512_maskz_loadu_ps(length, p->data + (first + i) * p->ld + k), scale))
                      : _mm512_setzero_si512();
      transpose16(rows);
      for (int64_t i = 0; i < left; i++)
        _mm512_mask_storeu_ps(out + (k + i) * width + first, place, _mm512_castsi512_ps(rows[i]));
    }
  }
}

HONE_TARGET_AVX512 static void pack_a(void *out, const hone_panel *panel) { pack(out, panel, MR); }
HONE_TARGET_AVX512 static void pack_b(void *out, const hone_panel *panel) { pack(out, panel, NR); }

HONE_TARGET_AVX512 static void tile(int64_t k, const void *packed_a, const void *packed_b, float *c, int64_t ldc,
                                    int accumulate) {
  const float *a = packed_a, *b = packed_b;
  __m512 sums[MR][2];
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
  for (int i = 0; i < MR; i++) {
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
      sums[i][1] = _mm512_fmadd_ps(x, b1, sums[i][1]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++) {
    float *row = c + i * ldc;
    if (accumulate) {
      sums[i][0] = _mm512_add_ps(sums[i][0], _mm512_loadu_ps(row));
      sums[i][1] = _mm512_add_ps(sums[i][1], _mm512_loadu_ps(row + 16));
    }
    _mm512_storeu_ps(row, sums[i][0]);
    _mm512_storeu_ps(row + 16, sums[i][1]);
  }
}

static void nothing(void) {}

const hone_tile hone_tile_avx512 = {MR, NR, 1, 320, 4, pack_a, pack_b, tile, nothing, nothing};
#endif
