/*
 * One vector of HONE_LANES floats and the few operations the kernels need. Included once per instruction set by
 * each_isa.h, so it has no include guard; + - * / are the compiler's own operators on vectors.
 */
#include <math.h>
#include <string.h>

#ifndef HONE_SIMD_NAMES
#define HONE_SIMD_NAMES
#define HONE_INLINE static inline __attribute__((always_inline, unused))
#define LANES HONE_LANES
#define vf HONE_NAME(vf)
#define vf_load HONE_NAME(vf_load)
#define vf_store HONE_NAME(vf_store)
#define vf_load_first HONE_NAME(vf_load_first)
#define vf_store_first HONE_NAME(vf_store_first)
#define vf_set HONE_NAME(vf_set)
#define vf_fma HONE_NAME(vf_fma)
#define vf_max HONE_NAME(vf_max)
#define vf_sqrt HONE_NAME(vf_sqrt)
#define vi HONE_NAME(vi)
#define vf_where HONE_NAME(vf_where)
#define vf_keep_between HONE_NAME(vf_keep_between)
#define vf_log HONE_NAME(vf_log)
#define vf_sum4 HONE_NAME(vf_sum4)
#define vf_largest4 HONE_NAME(vf_largest4)
#define vf_exp HONE_NAME(vf_exp)
#define vf_sum HONE_NAME(vf_sum)
#define vf_largest HONE_NAME(vf_largest)
#define vf_transpose4 HONE_NAME(vf_transpose4)
#define vf_load_bf16 HONE_NAME(vf_load_bf16)
#define vf_load_first_bf16 HONE_NAME(vf_load_first_bf16)
/* Below this exp() is taken as 0 (it would be subnormal); above the other it stays finite. */
#define HONE_EXP_LEAST -87.33654f
#define HONE_EXP_MOST 88.37626f
#endif

#if HONE_LANES == 16
typedef __m512 vf;
#elif HONE_LANES == 8
typedef __m256 vf;
#else
typedef float vf __attribute__((vector_size(16)));
#endif
typedef int32_t vi __attribute__((vector_size(4 * HONE_LANES)));

/* a where mask is -1, b where it is 0. */
HONE_INLINE vf vf_where(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }

#if HONE_LANES == 16
HONE_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
HONE_INLINE void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
HONE_INLINE vf vf_load_first(const float *p, int64_t count) {
  return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
}
HONE_INLINE void vf_store_first(float *p, vf x, int64_t count) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), x);
}
HONE_INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
HONE_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
HONE_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
HONE_INLINE vf vf_sqrt(vf x) { return _mm512_sqrt_ps(x); }
#elif HONE_LANES == 8
HONE_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
HONE_INLINE void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
HONE_INLINE vf vf_set(float x) { return _mm256_set1_ps(x); }
HONE_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
HONE_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
HONE_INLINE vf vf_sqrt(vf x) { return _mm256_sqrt_ps(x); }
#else
HONE_INLINE vf vf_load(const float *p) {
  vf x;
  memcpy(&x, p, sizeof x);
  return x;
}
HONE_INLINE void vf_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
HONE_INLINE vf vf_set(float x) { return (vf){x, x, x, x}; }
HONE_INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
/* b when either is not a number, as the instruction does. */
HONE_INLINE vf vf_max(vf a, vf b) { return vf_where((vi)(a > b), a, b); }
HONE_INLINE vf vf_sqrt(vf x) {
  for (int i = 0; i < 4; i++) x[i] = sqrtf(x[i]);
  return x;
}
#endif

#if HONE_LANES < 16
/* The first `count` (1 .. LANES) numbers; the other lanes are 0. */
HONE_INLINE vf vf_load_first(const float *p, int64_t count) {
  float whole[LANES] = {0};
  memcpy(whole, p, (size_t)count * sizeof(float));
  return vf_load(whole);
}
HONE_INLINE void vf_store_first(float *p, vf x, int64_t count) {
  float whole[LANES];
  vf_store(whole, x);
  memcpy(p, whole, (size_t)count * sizeof(float));
}
#endif

/* A bf16 is the upper half of a float. */
HONE_INLINE vf vf_load_bf16(const uint16_t *p) {
#if HONE_LANES == 16
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
#elif HONE_LANES == 8
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
#else
  return (vf)((vi){p[0], p[1], p[2], p[3]} << 16);
#endif
}
HONE_INLINE vf vf_load_first_bf16(const uint16_t *p, int64_t count) {
  uint16_t whole[LANES] = {0};
  memcpy(whole, p, (size_t)count * sizeof(uint16_t));
  return vf_load_bf16(whole);
}

/* Lane i keeps its number when from <= i < to; the others become minus infinity. */
HONE_INLINE vf vf_keep_between(vf x, int64_t from, int64_t to) {
  static const int32_t numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const int32_t low = from < 0 ? 0 : from > LANES ? LANES : (int32_t)from;
  const int32_t high = to < 0 ? 0 : to > LANES ? LANES : (int32_t)to;
  vi lane;
  memcpy(&lane, numbers, sizeof lane);
  return vf_where((vi)((lane >= low) & (lane < high)), x, vf_set(-INFINITY));
}

/*
 * exp(x) within 2 units in the last place: x = n ln 2 + r, |r| <= ln(2)/2, polynomial in r (Cephes' expf), times 2^n.
 * 0 below HONE_EXP_LEAST, exp(HONE_EXP_MOST) above HONE_EXP_MOST; what is not a number stays so.
 */
HONE_INLINE vf vf_exp(vf x) {
#if HONE_LANES == 16
  const vf inside = _mm512_min_ps(vf_set(HONE_EXP_MOST), x);
  const vf n = _mm512_roundscale_ps(inside * vf_set(1.44269504088896341f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const vf at_most = vf_where((vi)(x > vf_set(HONE_EXP_MOST)), vf_set(HONE_EXP_MOST), x);
  const vf inside = vf_where((vi)(x < vf_set(HONE_EXP_LEAST)), vf_set(HONE_EXP_LEAST), at_most);
  /* Adding 1.5 2^23 leaves no bits behind the point: the sum is rounded to the nearest integer. */
  const vf n = (inside * vf_set(1.44269504088896341f) + vf_set(12582912.0f)) - vf_set(12582912.0f);
#endif
  vf r = vf_fma(n, vf_set(-0.693359375f), inside);
  r = vf_fma(n, vf_set(2.12194440e-4f), r);
  vf p = vf_set(1.9875691500e-4f);
  p = vf_fma(p, r, vf_set(1.3981999507e-3f));
  p = vf_fma(p, r, vf_set(8.3334519073e-3f));
  p = vf_fma(p, r, vf_set(4.1665795894e-2f));
  p = vf_fma(p, r, vf_set(1.6666665459e-1f));
  p = vf_fma(p, r, vf_set(5.0000001201e-1f));
  p = vf_fma(p * r, r, r) + vf_set(1.0f);
#if HONE_LANES == 16
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, vf_set(HONE_EXP_LEAST), _CMP_NLT_UQ), p, n);
#else
  const vf power = (vf)((__builtin_convertvector(n, vi) + 127) << 23);
  return vf_where((vi)(x < vf_set(HONE_EXP_LEAST)), vf_set(0.0f), p * power);
#endif
}

/* log(x) for positive normal x within 2 units in the last place: x = m 2^n, 1/2 <= m^2 < 2 (Cephes' logf). */
HONE_INLINE vf vf_log(vf x) {
  const vi root_half = (vi)vf_set(0.70710678f);
  const vi power = ((vi)x - root_half) >> 23;
  const vf n = __builtin_convertvector(power, vf), f = (vf)((vi)x - (power << 23)) - vf_set(1.0f);
  vf p = vf_set(7.0376836292e-2f);
  p = vf_fma(p, f, vf_set(-1.1514610310e-1f));
  p = vf_fma(p, f, vf_set(1.1676998740e-1f));
  p = vf_fma(p, f, vf_set(-1.2420140846e-1f));
  p = vf_fma(p, f, vf_set(1.4249322787e-1f));
  p = vf_fma(p, f, vf_set(-1.6668057665e-1f));
  p = vf_fma(p, f, vf_set(2.0000714765e-1f));
  p = vf_fma(p, f, vf_set(-2.4999993993e-1f));
  p = vf_fma(p, f, vf_set(3.3333331174e-1f));
  const vf z = f * f;
  vf y = vf_fma(n, vf_set(-2.12194440e-4f), p * f * z);
  y = vf_fma(z, vf_set(-0.5f), y);
  return vf_fma(n, vf_set(0.693359375f), f + y);
}

/* Sum of all lanes, always in the same order. */
HONE_INLINE float vf_sum(vf x) {
#if HONE_LANES == 16
  return _mm512_reduce_add_ps(x);
#elif HONE_LANES == 8
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
#else
  return (x[0] + x[2]) + (x[1] + x[3]);
#endif
}

HONE_INLINE float vf_largest(vf x) {
#if HONE_LANES == 16
  return _mm512_reduce_max_ps(x);
#elif HONE_LANES == 8
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
#else
  float a = x[0] > x[1] ? x[0] : x[1], b = x[2] > x[3] ? x[2] : x[3];
  return a > b ? a : b;
#endif
}

#if HONE_LANES >= 8
/* The four quarters of each of four vectors combined into one: out[r] = x[r][0] . x[r][1] . ... in a fixed order. */
#define HONE_COMBINE4(operation, half_operation)                                                                       \
  const vf ab = operation(HONE_WIDE(unpacklo_ps)(x[0], x[1]), HONE_WIDE(unpackhi_ps)(x[0], x[1]));                     \
  const vf cd = operation(HONE_WIDE(unpacklo_ps)(x[2], x[3]), HONE_WIDE(unpackhi_ps)(x[2], x[3]));                     \
  const vf abcd = operation((vf)HONE_WIDE(unpacklo_pd)((HONE_DOUBLES)ab, (HONE_DOUBLES)cd),                            \
                            (vf)HONE_WIDE(unpackhi_pd)((HONE_DOUBLES)ab, (HONE_DOUBLES)cd));                           \
  _mm_storeu_ps(out, HONE_QUARTERS(abcd, half_operation))
#endif
#if HONE_LANES == 16
#define HONE_WIDE(name) _mm512_##name
#define HONE_DOUBLES __m512d
#define HONE_QUARTERS(x, op)                                                                                           \
  op(op(_mm512_castps512_ps128(x), _mm512_extractf32x4_ps(x, 1)),                                                      \
     op(_mm512_extractf32x4_ps(x, 2), _mm512_extractf32x4_ps(x, 3)))
HONE_INLINE void vf_sum4(const vf *x, float *out) { HONE_COMBINE4(_mm512_add_ps, _mm_add_ps); }
HONE_INLINE void vf_largest4(const vf *x, float *out) { HONE_COMBINE4(_mm512_max_ps, _mm_max_ps); }
#elif HONE_LANES == 8
#define HONE_WIDE(name) _mm256_##name
#define HONE_DOUBLES __m256d
#define HONE_QUARTERS(x, op) op(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1))
HONE_INLINE void vf_sum4(const vf *x, float *out) { HONE_COMBINE4(_mm256_add_ps, _mm_add_ps); }
HONE_INLINE void vf_largest4(const vf *x, float *out) { HONE_COMBINE4(_mm256_max_ps, _mm_max_ps); }
#else
HONE_INLINE void vf_sum4(const vf *x, float *out) {
  for (int r = 0; r < 4; r++) out[r] = vf_sum(x[r]);
}
HONE_INLINE void vf_largest4(const vf *x, float *out) {
  for (int r = 0; r < 4; r++) out[r] = vf_largest(x[r]);
}
#endif
#undef HONE_COMBINE4
#undef HONE_WIDE
#undef HONE_DOUBLES
#undef HONE_QUARTERS

/*
 * Four columns of LANES rows, one vector per column: out[e * out_stride + r] = rows[r * stride + e], e < 4.
 */
HONE_INLINE void vf_transpose4(const float *rows, int64_t stride, float *out, int64_t out_stride) {
#if HONE_LANES == 16
  vf x[4];
  for (int c = 0; c < 4; c++) {
    const float *p = rows + c * stride;
    __m512 y = _mm512_castps128_ps512(_mm_loadu_ps(p));
    y = _mm512_insertf32x4(y, _mm_loadu_ps(p + 4 * stride), 1);
    y = _mm512_insertf32x4(y, _mm_loadu_ps(p + 8 * stride), 2);
    x[c] = _mm512_insertf32x4(y, _mm_loadu_ps(p + 12 * stride), 3);
  }
  __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(x[0], x[1])), b = _mm512_castps_pd(_mm512_unpackhi_ps(x[0], x[1]));
  __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(x[2], x[3])), d = _mm512_castps_pd(_mm512_unpackhi_ps(x[2], x[3]));
  vf_store(out, _mm512_castpd_ps(_mm512_unpacklo_pd(a, c)));
  vf_store(out + out_stride, _mm512_castpd_ps(_mm512_unpackhi_pd(a, c)));
  vf_store(out + 2 * out_stride, _mm512_castpd_ps(_mm512_unpacklo_pd(b, d)));
  vf_store(out + 3 * out_stride, _mm512_castpd_ps(_mm512_unpackhi_pd(b, d)));
#elif HONE_LANES == 8
  vf x[4];
  for (int c = 0; c < 4; c++) {
    const float *p = rows + c * stride;
    x[c] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
  }
  __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(x[0], x[1])), b = _mm256_castps_pd(_mm256_unpackhi_ps(x[0], x[1]));
  __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(x[2], x[3])), d = _mm256_castps_pd(_mm256_unpackhi_ps(x[2], x[3]));
  vf_store(out, _mm256_castpd_ps(_mm256_unpacklo_pd(a, c)));
  vf_store(out + out_stride, _mm256_castpd_ps(_mm256_unpackhi_pd(a, c)));
  vf_store(out + 2 * out_stride, _mm256_castpd_ps(_mm256_unpacklo_pd(b, d)));
  vf_store(out + 3 * out_stride, _mm256_castpd_ps(_mm256_unpackhi_pd(b, d)));
#else
  for (int r = 0; r < 4; r++)
    for (int e = 0; e < 4; e++) out[e * out_stride + r] = rows[r * stride + e];
#endif
}

