/* The tiles of AVX2 (6 x 16) and of processors of which nothing is known (4 x 8). */
#include "matmul.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* A panel of `width` vectors holds, for each k, its `width` numbers. */
static inline __attribute__((always_inline)) void pack(char *out, int64_t panel_bytes, const hone_vectors *p,
                                                       const int64_t width, const int is_bf16) {
  const float *numbers = p->data;
  const uint16_t *halves = p->data;
  for (int64_t vector = 0; vector < p->vectors; vector += width, out += panel_bytes) {
    const int64_t there = p->vectors - vector < width ? p->vectors - vector : width;
    float *to = (float *)out;
    for (int64_t k = 0; k < p->k; k++, to += width) {
      const int64_t at = p->k_contiguous ? vector * p->ld + k : k * p->ld + vector, step = p->k_contiguous ? p->ld : 1;
      if (is_bf16)
        for (int64_t i = 0; i < there; i++) to[i] = hone_float_of_bf16(halves[at + i * step]);
      else if (p->k_contiguous)
        for (int64_t i = 0; i < there; i++) to[i] = numbers[at + i * step] * p->scale;
      else
        for (int64_t i = 0; i < there; i++) to[i] = numbers[at + i] * p->scale;
      for (int64_t i = there; i < width; i++) to[i] = 0.0f;
    }
  }
}

#define CUT {256, 256, 3}
static void nothing(void) {}

#if defined(__x86_64__)
HONE_TARGET_AVX2 static void pack_a_avx2(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 6, 0); }
HONE_TARGET_AVX2 static void pack_b_avx2(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 16, 0); }
HONE_TARGET_AVX2 static void pack_b_avx2_bf16(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 16, 1); }

HONE_TARGET_AVX2 static void tile_avx2(int64_t k, const char *packed_a, const char *packed_b, float *c, int64_t ldc,
                                       int accumulate, int64_t rows, int64_t columns, const char *ahead) {
  (void)rows, (void)columns, (void)ahead;
  const float *a = (const float *)packed_a, *b = (const float *)packed_b;
  __m256 sums[6][2];
#pragma GCC unroll 6
  for (int i = 0; i < 6; i++) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
  for (int64_t at = 0; at < k; at++, a += 6, b += 16) {
    const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
      const __m256 x = _mm256_broadcast_ss(a + i);
      sums[i][0] = _mm256_fmadd_ps(x, b0, sums[i][0]);
      sums[i][1] = _mm256_fmadd_ps(x, b1, sums[i][1]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < 6; i++) {
    float *row = c + i * ldc;
    if (accumulate) {
      sums[i][0] = _mm256_add_ps(sums[i][0], _mm256_loadu_ps(row));
      sums[i][1] = _mm256_add_ps(sums[i][1], _mm256_loadu_ps(row + 8));
    }
    _mm256_storeu_ps(row, sums[i][0]);
    _mm256_storeu_ps(row + 8, sums[i][1]);
  }
}

const hone_tile hone_tile_avx2 = {6, 16, 1, CUT, CUT, 4, 4, pack_a_avx2, pack_b_avx2, tile_avx2, nothing, nothing};
const hone_tile hone_tile_avx2_bf16 = {6, 16, 1, CUT, CUT, 4, 4, pack_a_avx2, pack_b_avx2_bf16, tile_avx2, nothing, nothing};
#endif

static void pack_a_scalar(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 4, 0); }
static void pack_b_scalar(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 8, 0); }
static void pack_b_scalar_bf16(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 8, 1); }

static void tile_scalar(int64_t k, const char *packed_a, const char *packed_b, float *c, int64_t ldc, int accumulate,
                        int64_t rows, int64_t columns, const char *ahead) {
  (void)rows, (void)columns, (void)ahead;
  const float *a = (const float *)packed_a, *b = (const float *)packed_b;
  float sums[4][8] = {{0}};
  for (int64_t at = 0; at < k; at++, a += 4, b += 8)
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 8; j++) sums[i][j] += a[i] * b[j];
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 8; j++) c[i * ldc + j] = accumulate ? c[i * ldc + j] + sums[i][j] : sums[i][j];
}

const hone_tile hone_tile_scalar = {4, 8, 1, CUT, CUT, 4, 4, pack_a_scalar, pack_b_scalar, tile_scalar, nothing, nothing};
const hone_tile hone_tile_scalar_bf16 = {4, 8, 1, CUT, CUT, 4, 4, pack_a_scalar, pack_b_scalar_bf16, tile_scalar, nothing, nothing};
