/*
 * Compiles the file named by HONE_KERNELS once per instruction set, each time with its own simd.h.
 * A function f of that file is written HONE_NAME(f); HONE_BEST(f) is the one that this processor should run.
 */
#include "hone.h"

#ifndef HONE_NAME
#define HONE_JOIN2(name, suffix) name##_##suffix
#define HONE_JOIN(name, suffix) HONE_JOIN2(name, suffix)
#define HONE_NAME(name) HONE_JOIN(name, HONE_SUFFIX)
#define HONE_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define HONE_BEGIN_TARGET(isa) HONE_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define HONE_END_TARGET HONE_PRAGMA(clang attribute pop)
#else
#define HONE_BEGIN_TARGET(isa) HONE_PRAGMA(GCC push_options) HONE_PRAGMA(GCC target(isa))
#define HONE_END_TARGET HONE_PRAGMA(GCC pop_options)
#endif
#endif

#if defined(__x86_64__)
#define HONE_BEST(name)                                                                                                \
  (hone_cpu_isa() >= HONE_ISA_AVX512 ? HONE_JOIN(name, avx512)                                                         \
   : hone_cpu_isa() >= HONE_ISA_AVX2 ? HONE_JOIN(name, avx2)                                                           \
                                     : HONE_JOIN(name, base))
#include <immintrin.h>

#define HONE_SUFFIX avx512
#define HONE_LANES 16
HONE_BEGIN_TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,prfchw")
#include "simd.h"
#include HONE_KERNELS
HONE_END_TARGET
#undef HONE_SUFFIX
#undef HONE_LANES

#define HONE_SUFFIX avx2
#define HONE_LANES 8
HONE_BEGIN_TARGET("avx2,fma,f16c,prfchw")
#include "simd.h"
#include HONE_KERNELS
HONE_END_TARGET
#undef HONE_SUFFIX
#undef HONE_LANES
#else
#define HONE_BEST(name) HONE_JOIN(name, base)
#endif

/* Four lanes of whatever the compiler assumes by default: SSE2, NEON, or scalar code. */
#define HONE_SUFFIX base
#define HONE_LANES 4
#include "simd.h"
#include HONE_KERNELS
#undef HONE_SUFFIX
#undef HONE_LANES
