/*
 * The tile on AMX: 32 x 32 numbers of C in four tile registers, from bf16 operands with float32 sums.
 *
 * A float has 24 significant bits, a bf16 has 8: x = x1 + x2 + x3 exactly, each a bf16. Then
 *
 *     a b = a1 b1 + (a1 b2 + a2 b1) + (a1 b3 + a2 b2 + a3 b1)   with an error of about 2^-26 |a b|
 *
 * which is below float32's own rounding. Six products at bf16's speed beat one at float32's.
 * Differs from float32: infinities become NaN (inf - inf), numbers above 3.39e38 round to infinity.
 *
 * Packed panel: for each 32 of k, three parts, each of two register tiles, each 16 rows of 64 bytes.
 * A's row holds 32 of k of one vector; B's row holds, of 16 columns, two of k side by side.
 */
#include "matmul.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "transpose16.h"

#define TILE_BYTES 1024
#define STEP_BYTES (6 * TILE_BYTES)

/* The three parts of two rows of numbers, as pairs of bf16: the first row's in the low halves. */
HONE_TARGET_AMX static inline __attribute__((always_inline)) void store_parts(__m512i first, __m512i second, char *out) {
  const __m512i half = _mm512_set1_epi32(0x8000), high = _mm512_set1_epi32((int)0xffff0000);
  const __mmask32 odd_places = 0xaaaaaaaa;
  __m512 x = _mm512_castsi512_ps(first), y = _mm512_castsi512_ps(second);
  for (int part = 0; part < 2; part++) {
    const __m512i xb = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), high);
    const __m512i yb = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(y), half), high);
    _mm512_store_si512(out + 2 * part * TILE_BYTES, _mm512_mask_blend_epi16(odd_places, _mm512_srli_epi32(xb, 16), yb));
    x = _mm512_sub_ps(x, _mm512_castsi512_ps(xb));
    y = _mm512_sub_ps(y, _mm512_castsi512_ps(yb));
  }
  /* What is left has at most 8 bits. */
  const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(x), 16);
  _mm512_store_si512(out + 4 * TILE_BYTES, _mm512_mask_blend_epi16(odd_places, low, _mm512_castps_si512(y)));
}

static inline __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? 0xffff : count > 0 ? (__mmask16)((1u << count) - 1) : 0;
}

/* 16 vectors by 16 of k, as they are stored; zeros beyond the edges. */
HONE_TARGET_AMX static inline __attribute__((always_inline)) void load_square(const hone_vectors *p, int64_t vector,
                                                                              int64_t k, __m512i rows[16]) {
  const __m512 scale = _mm512_set1_ps(p->scale);
  const int64_t vectors = p->vectors - vector, ks = p->k - k;
  const __mmask16 lanes = first_lanes(p->k_contiguous ? ks : vectors);
  const int64_t there = p->k_contiguous ? vectors : ks;
  const float *at = p->data + (p->k_contiguous ? vector * p->ld + k : k * p->ld + vector);
  if (there >= 16 && lanes == 0xffff) {
    for (int64_t i = 0; i < 16; i++) {
      rows[i] = _mm512_castps_si512(_mm512_mul_ps(_mm512_loadu_ps(at + i * p->ld), scale));
      /* 16 rows at once are more streams than the processor follows by itself. */
      if (p->k_contiguous) __builtin_prefetch(at + i * p->ld + 64);
    }
    return;
  }
  for (int64_t i = 0; i < 16; i++)
    rows[i] = i < there ? _mm512_castps_si512(_mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, at + i * p->ld), scale))
                        : _mm512_setzero_si512();
}

/*
 * 16 vectors by 32 of k into one register tile of each part. The order of k inside 32 is free as long as A and B agree:
 * k and k + 16 make a pair, which costs no shuffles.
 */
HONE_TARGET_AMX static inline __attribute__((always_inline)) void pack_tile(char *out, const hone_vectors *p,
                                                                            int64_t vector, int64_t k, int want_k_rows) {
  __m512i first[16], second[16];
  load_square(p, vector, k, first);
  load_square(p, vector, k + 16, second);
  if (p->k_contiguous == want_k_rows) {
    transpose16(first);
    transpose16(second);
  }
  for (int i = 0; i < 16; i++) store_parts(first[i], second[i], out + 64 * i);
}

/* Along the rows as they are stored: with k side by side panel after panel, else all panels for each k. */
HONE_TARGET_AMX static inline __attribute__((always_inline)) void pack(char *out, int64_t panel_bytes,
                                                                        const hone_vectors *p, int want_k_rows) {
  const int64_t steps = (p->k + 31) / 32, panels = (p->vectors + 31) / 32;
  for (int64_t i = 0; i < steps * panels; i++) {
    const int64_t step = p->k_contiguous ? i % steps : i / panels;
    const int64_t panel = p->k_contiguous ? i / steps : i % panels;
    char *const to = out + panel * panel_bytes + step * STEP_BYTES;
    pack_tile(to, p, 32 * panel, 32 * step, want_k_rows);
    pack_tile(to + TILE_BYTES, p, 32 * panel + 16, 32 * step, want_k_rows);
  }
}

HONE_TARGET_AMX static void pack_a(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 0); }
HONE_TARGET_AMX static void pack_b(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 1); }

/* Registers 0-3 are C, 4-5 are A, 6-7 are B. `tall`, `wide`: whether the second 16 rows, columns are wanted. */
#define MULTIPLY                                \
  _tile_dpbf16ps(0, 4, 6);                      \
  if (wide) _tile_dpbf16ps(1, 4, 7);            \
  if (tall) _tile_dpbf16ps(2, 5, 6);            \
  if (tall && wide) _tile_dpbf16ps(3, 5, 7);
#define LOAD_A(part)                                   \
  _tile_loadd(4, a + (2 * (part)) * TILE_BYTES, 64);   \
  if (tall) _tile_loadd(5, a + (2 * (part) + 1) * TILE_BYTES, 64);
#define LOAD_B(part)                                   \
  _tile_loadd(6, b + (2 * (part)) * TILE_BYTES, 64);   \
  if (wide) _tile_loadd(7, b + (2 * (part) + 1) * TILE_BYTES, 64);

HONE_TARGET_AMX static inline __attribute__((always_inline)) void store(float *c, int64_t ldc, const int tall,
                                                                        const int wide) {
  const int64_t stride = ldc * 4;
  float *low = c + 16 * ldc;
  _tile_stored(0, c, stride);
  if (wide) _tile_stored(1, c + 16, stride);
  if (tall) _tile_stored(2, low, stride);
  if (tall && wide) _tile_stored(3, low + 16, stride);
}

HONE_TARGET_AMX static inline __attribute__((always_inline)) void multiply(int64_t k, const char *a, const char *b,
                                                                           float *c, int64_t ldc, int accumulate,
                                                                           const char *ahead, const int tall,
                                                                           const int wide) {
  const char *const first_a = a, *const first_b = b;
  __asm__ volatile("" : : : "memory"); /* the intrinsics do not say that they read memory */
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  /*
   * Every addition rounds by the size of the sum. The small products come first, while the sum is small, so that
   * there are no more roundings of the full size than float32 would make.
   */
  for (int64_t at = 0; at < k; at += 32, a += STEP_BYTES, b += STEP_BYTES) {
    for (int line = 0; line < HONE_AHEAD_LINES; line++) __builtin_prefetch(ahead + 64 * line, 0, 2);
    ahead += 64 * HONE_AHEAD_LINES;
    /* In an order where each product changes one operand only. */
    LOAD_A(2) LOAD_B(0) MULTIPLY
    LOAD_A(1) MULTIPLY
    LOAD_B(1) MULTIPLY
    LOAD_A(0) MULTIPLY
    LOAD_B(2) MULTIPLY
  }
  a = first_a;
  b = first_b;
  for (int64_t at = 0; at < k; at += 32, a += STEP_BYTES, b += STEP_BYTES) {
    LOAD_A(0) LOAD_B(0) MULTIPLY
  }
  if (!accumulate) {
    store(c, ldc, tall, wide);
    return;
  }
  float sums[32 * 32] __attribute__((aligned(64)));
  store(sums, 32, tall, wide);
  for (int i = 0; i < (tall ? 32 : 16); i++)
    for (int j = 0; j < (wide ? 32 : 16); j += 16) {
      float *to = c + i * ldc + j;
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), _mm512_load_ps(sums + 32 * i + j)));
    }
}

HONE_TARGET_AMX static void tile(int64_t k, const char *a, const char *b, float *c, int64_t ldc, int accumulate,
                                 int64_t rows, int64_t columns, const char *ahead) {
  if (rows > 16 && columns > 16) multiply(k, a, b, c, ldc, accumulate, ahead, 1, 1);
  else if (rows > 16) multiply(k, a, b, c, ldc, accumulate, ahead, 1, 0);
  else if (columns > 16) multiply(k, a, b, c, ldc, accumulate, ahead, 0, 1);
  else multiply(k, a, b, c, ldc, accumulate, ahead, 0, 0);
}

/* Eight tiles of 16 rows of 64 bytes: the layout that LDTILECFG reads. */
HONE_TARGET_AMX static void enter(void) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } __attribute__((aligned(64))) config = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    config.row_bytes[i] = 64;
    config.rows[i] = 16;
  }
  /* The intrinsic tells the compiler of 8 bytes only; this, that all of them are read. */
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

/* Tiles in use make every switch of threads slower. */
HONE_TARGET_AMX static void leave(void) { _tile_release(); }

const hone_tile hone_tile_amx = {32, 32, 32, 512, 6, pack_a, pack_b, tile, enter, leave};
#endif
