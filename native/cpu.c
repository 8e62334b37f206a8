/* Which instruction sets this process may use. */
#include <stdlib.h>
#include <string.h>

#include "hone.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From Linux, arch/x86/include/uapi/asm/prctl.h: ask for a register state that is off until asked for. */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static uint64_t enabled_states(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
}

/* Tiles need the processor, the kernel's state for them and its permission, which is the process's from then on. */
static int amx_granted(void) {
  uint32_t a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  const uint32_t amx_bf16 = 1u << 22, amx_tile = 1u << 24;
  if ((d & amx_bf16) == 0 || (d & amx_tile) == 0) return 0;
  const uint64_t tile_states = (1ull << 17) | (1ull << 18);
  if ((enabled_states() & tile_states) != tile_states) return 0;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static int detect(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return HONE_ISA_SCALAR;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
    return HONE_ISA_AVX2;
  return amx_granted() ? HONE_ISA_AMX : HONE_ISA_AVX512;
}
#else
static int detect(void) { return HONE_ISA_SCALAR; }
#endif

static int widest_allowed(void) {
  const char *limit = getenv("HONE_ISA");
  if (limit == NULL) return HONE_ISA_AMX;
  if (strcmp(limit, "scalar") == 0) return HONE_ISA_SCALAR;
  if (strcmp(limit, "avx2") == 0) return HONE_ISA_AVX2;
  if (strcmp(limit, "avx512") == 0) return HONE_ISA_AVX512;
  return HONE_ISA_AMX;
}

/* -1 until the first question; every thread that asks first finds the same answer. */
static int detected = -1;
static int in_force = -1;

int hone_cpu_isa(void) {
  int isa = __atomic_load_n(&in_force, __ATOMIC_RELAXED);
  if (isa >= 0) return isa;
  const int found = detect();
  const int allowed = widest_allowed();
  isa = found < allowed ? found : allowed;
  __atomic_store_n(&detected, found, __ATOMIC_RELAXED);
  __atomic_store_n(&in_force, isa, __ATOMIC_RELAXED);
  return isa;
}

int hone_limit_isa(int isa) {
  hone_cpu_isa();
  const int found = __atomic_load_n(&detected, __ATOMIC_RELAXED);
  const int now = isa < 0 || isa > found ? found : isa;
  __atomic_store_n(&in_force, now, __ATOMIC_RELAXED);
  return now;
}
