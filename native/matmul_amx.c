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
#define HALF_STEP_BYTES (2 * TILE_BYTES)

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
  const float *at = (const float *)p->data + (p->k_contiguous ? vector * p->ld + k : k * p->ld + vector);
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
 * k and k + 16 make a pair, which costs no shuffles; or, `in_order`, k and k + 1, which B's layout alone can have.
 */
HONE_TARGET_AMX static inline __attribute__((always_inline)) void pack_tile(char *out, const hone_vectors *p,
                                                                            int64_t vector, int64_t k, const int want_k_rows,
                                                                            const int in_order) {
  __m512i first[16], second[16];
  load_square(p, vector, k, first);
  load_square(p, vector, k + 16, second);
  if (p->k_contiguous == want_k_rows) {
    transpose16(first);
    transpose16(second);
  }
  for (int i = 0; i < 16; i++) {
    if (!in_order) store_parts(first[i], second[i], out + 64 * i);
    else if (i < 8) store_parts(first[2 * i], first[2 * i + 1], out + 64 * i);
    else store_parts(second[2 * i - 16], second[2 * i - 15], out + 64 * i);
  }
}

/* Along the rows as they are stored: with k side by side panel after panel, else all panels for each k. */
HONE_TARGET_AMX static inline __attribute__((always_inline)) void pack(char *out, int64_t panel_bytes,
                                                                        const hone_vectors *p, const int want_k_rows,
                                                                        const int in_order) {
  const int64_t steps = (p->k + 31) / 32, panels = (p->vectors + 31) / 32;
  for (int64_t i = 0; i < steps * panels; i++) {
    const int64_t step = p->k_contiguous ? i % steps : i / panels;
    const int64_t panel = p->k_contiguous ? i / steps : i % panels;
    char *const to = out + panel * panel_bytes + step * STEP_BYTES;
    pack_tile(to, p, 32 * panel, 32 * step, want_k_rows, in_order);
    pack_tile(to + TILE_BYTES, p, 32 * panel + 16, 32 * step, want_k_rows, in_order);
  }
}

HONE_TARGET_AMX static void pack_a(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 0, 0); }
HONE_TARGET_AMX static void pack_b(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 1, 0); }
HONE_TARGET_AMX static void pack_b_in_order(char *out, int64_t panel_bytes, const hone_vectors *p) { pack(out, panel_bytes, p, 1, 1); }

/*
 * bf16 numbers are one part: a panel holds, for each 32 of k, two register tiles. Columns side by side: two rows, k and
 * k + 16, are interleaved.
 */
HONE_TARGET_AMX static void pack_bf16_columns(char *out, int64_t panel_bytes, const hone_vectors *p) {
  const __mmask32 odd_places = 0xaaaaaaaa;
  const int64_t whole = p->vectors / 16 * 16, padded = (p->vectors + 31) / 32 * 32;
  for (int64_t k = 0; k < p->k; k += 32)
    for (int64_t i = 0; i < 16; i++) {
      const int64_t left = p->k - k - i;
      const uint16_t *first = (const uint16_t *)p->data + (k + i) * p->ld, *second = first + 16 * p->ld;
      char *to = out + k / 32 * HALF_STEP_BYTES + 64 * i;
      int64_t j = 0;
      if (left > 16)
        for (; j < whole; j += 16) {
          const __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(first + j)));
          const __m512i y = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(second + j)));
          /* The rows of the next step lie far away. */
          __builtin_prefetch(first + 32 * p->ld + j);
          __builtin_prefetch(second + 32 * p->ld + j);
          _mm512_store_si512(to + j / 32 * panel_bytes + j % 32 / 16 * TILE_BYTES,
                             _mm512_mask_blend_epi16(odd_places, x, _mm512_slli_epi32(y, 16)));
        }
      for (; j < padded; j += 16) {
        const __mmask16 some = first_lanes(p->vectors - j);
        const __m512i x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(left > 0 ? some : 0, first + j));
        const __m512i y = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(left > 16 ? some : 0, second + j));
        _mm512_store_si512(to + j / 32 * panel_bytes + j % 32 / 16 * TILE_BYTES,
                           _mm512_mask_blend_epi16(odd_places, x, _mm512_slli_epi32(y, 16)));
      }
    }
}

/* k side by side is already A's layout: a row is copied, 32 numbers at a time. */
HONE_TARGET_AMX static void pack_bf16_rows(char *out, int64_t panel_bytes, const hone_vectors *p) {
  const int64_t padded = (p->vectors + 31) / 32 * 32, whole = p->k / 32 * 32;
  const __mmask32 last = (__mmask32)((1u << (p->k - whole)) - 1);
  for (int64_t i = 0; i < padded; i++) {
    const uint16_t *from = (const uint16_t *)p->data + i * p->ld;
    char *to = out + i / 32 * panel_bytes + i % 32 * 64;
    const int there = i < p->vectors;
    for (int64_t k = 0; k < whole; k += 32, to += HALF_STEP_BYTES)
      _mm512_store_si512(to, there ? _mm512_loadu_si512(from + k) : _mm512_setzero_si512());
    if (whole < p->k) _mm512_store_si512(to, _mm512_maskz_loadu_epi16(there ? last : 0, from + whole));
  }
}

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
  __asm__ volatile("" : : : "memory"); /* the intrinsics do not say that they read memory */
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  /*
   * In an order where each product changes one operand only. Adding the small products up in a loop of their own, before
   * the sum is large, would halve the rounding error, but reads a third more: measured, a fifth slower.
   */
  for (int64_t at = 0; at < k; at += 32, a += STEP_BYTES, b += STEP_BYTES) {
    for (int line = 0; line < HONE_AHEAD_LINES; line++) __builtin_prefetch(ahead + 64 * line, 0, 2);
    ahead += 64 * HONE_AHEAD_LINES;
    LOAD_A(2) LOAD_B(0) MULTIPLY
    LOAD_A(1) MULTIPLY
    LOAD_B(1) MULTIPLY
    LOAD_A(0) MULTIPLY
    LOAD_B(2) MULTIPLY
    LOAD_B(0) MULTIPLY
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

/*
 * The same from three parts of A and one of B: no product is left out, so nothing is lost but by adding up. Registers as
 * above. `turned`: B's panel is laid out as A's and A's as B's; then C comes out transposed, and is turned as it is stored.
 */
HONE_TARGET_AMX static inline __attribute__((always_inline)) void multiply_bf16(int64_t k, const char *parts,
                                                                                const char *halves, float *c, int64_t ldc,
                                                                                int accumulate, const char *ahead,
                                                                                const int tall, const int wide,
                                                                                const int turned) {
  const char *a = turned ? halves : parts, *b = turned ? parts : halves;
  const int64_t a_step = turned ? HALF_STEP_BYTES : STEP_BYTES, b_step = turned ? STEP_BYTES : HALF_STEP_BYTES;
  __asm__ volatile("" : : : "memory");
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t at = 0; at < k; at += 32, a += a_step, b += b_step) {
    for (int line = 0; line < HONE_AHEAD_LINES; line++) __builtin_prefetch(ahead + 64 * line, 0, 2);
    ahead += 64 * HONE_AHEAD_LINES;
    if (turned) {
      LOAD_A(0) LOAD_B(2) MULTIPLY
      LOAD_B(1) MULTIPLY
      LOAD_B(0) MULTIPLY
    } else {
      LOAD_B(0) LOAD_A(2) MULTIPLY
      LOAD_A(1) MULTIPLY
      LOAD_A(0) MULTIPLY
    }
  }
  if (!turned && !accumulate) {
    store(c, ldc, tall, wide);
    return;
  }
  float sums[32 * 32] __attribute__((aligned(64)));
  store(sums, 32, tall, wide);
  for (int i = 0; i < (tall ? 32 : 16); i += 16)
    for (int j = 0; j < (wide ? 32 : 16); j += 16) {
      __m512i square[16];
      for (int row = 0; row < 16; row++) square[row] = _mm512_load_si512(sums + 32 * (i + row) + j);
      if (turned) transpose16(square);
      float *to = turned ? c + j * ldc + i : c + i * ldc + j;
      for (int row = 0; row < 16; row++, to += ldc) {
        const __m512 sum = _mm512_castsi512_ps(square[row]);
        _mm512_storeu_ps(to, accumulate ? _mm512_add_ps(_mm512_loadu_ps(to), sum) : sum);
      }
    }
}

HONE_TARGET_AMX static void tile_bf16_columns(int64_t k, const char *a, const char *b, float *c, int64_t ldc,
                                              int accumulate, int64_t rows, int64_t columns, const char *ahead) {
  if (rows > 16 && columns > 16) multiply_bf16(k, a, b, c, ldc, accumulate, ahead, 1, 1, 0);
  else if (rows > 16) multiply_bf16(k, a, b, c, ldc, accumulate, ahead, 1, 0, 0);
  else if (columns > 16) multiply_bf16(k, a, b, c, ldc, accumulate, ahead, 0, 1, 0);
  else multiply_bf16(k, a, b, c, ldc, accumulate, ahead, 0, 0, 0);
}

HONE_TARGET_AMX static void tile_bf16_rows(int64_t k, const char *a, const char *b, float *c, int64_t ldc,
                                           int accumulate, int64_t rows, int64_t columns, const char *ahead) {
  if (rows > 16 && columns > 16) multiply_bf16(k, a, b, c, ldc, accumulate, ahead, 1, 1, 1);
  else if (rows > 16) multiply_bf16(k, a, b, c, ldc, accumulate, ahead, 0, 1, 1);
  else if (columns > 16) multiply_bf16(k, a, b, c, ldc, accumulate, ahead, 1, 0, 1);
  else multiply_bf16(k, a, b, c, ldc, accumulate, ahead, 0, 0, 1);
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

const hone_tile hone_tile_amx = {32, 32, 32, {1024, 128, 3}, {1024, 128, 3}, 6, 6, pack_a, pack_b, tile, enter, leave};
/*
 * Measured. Where B is cut, a block's bf16 numbers fill half the second cache and A passes by once for each: few blocks.
 * B transposed costs turning C after each kc: longer ones. Otherwise short: a panel of B then stays in the first cache.
 */
const hone_tile hone_tile_amx_bf16_columns = {
    32, 32, 32, {256, 256, 3}, {1024, 512, 1}, 6, 2, pack_a, pack_bf16_columns, tile_bf16_columns, enter, leave};
const hone_tile hone_tile_amx_bf16_rows = {
    32, 32, 32, {512, 256, 3}, {1024, 512, 1}, 6, 2, pack_b_in_order, pack_bf16_rows, tile_bf16_rows, enter, leave};
#endif
