/* Which SHA-256 this CPU runs. One build carries all of them. */
#include <string.h>

#include "sha256.h"

static int always(void) { return 1; }

#ifdef SHA256_HAVE_X86
#include <cpuid.h>

/* __builtin_cpu_supports("sha") is younger than the compilers that this must build with. The others it answers
 * correctly also where the operating system does not save the wide registers. */
static int sha_instructions(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}
static int avx2(void) { return __builtin_cpu_supports("avx2"); }
static int shani(void) { return sha_instructions() && __builtin_cpu_supports("sse4.1"); }
static int shani_avx(void) { return shani() && __builtin_cpu_supports("avx"); }
static int shani_avx512vl(void) { return shani_avx() && __builtin_cpu_supports("avx512vl"); }
#endif

#ifdef SHA256_HAVE_ARMV8
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
static int armv8(void) { return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0; }
#elif defined(__APPLE__)
#define armv8 always /* every 64-bit Apple CPU has them */
#else
static int armv8(void) { return 0; }
#endif
#endif

/* Best first, by measurement of 80-byte headers. */
static const sha256_impl implementations[] = {
#ifdef SHA256_HAVE_X86
    {"shani4evex", sha256_shani4evex, shani_avx512vl},
    {"shani3", sha256_shani3, shani_avx},
    {"shani2", sha256_shani2, shani},
    {"shani1", sha256_shani1, shani},
    {"avx2", sha256_avx2, avx2},
#endif
#ifdef SHA256_HAVE_ARMV8
    {"armv8", sha256_armv8, armv8},
#endif
    {"portable", sha256_portable, always},
};
enum { COUNT = sizeof implementations / sizeof implementations[0] };

static const sha256_impl *selected;

static const sha256_impl *runnable(size_t position) {
    for (size_t i = 0; i < COUNT; i++) {
        if (implementations[i].usable() && position-- == 0) {
            return &implementations[i];
        }
    }
    return NULL;
}

const char *sha256_runnable(size_t position) {
    const sha256_impl *impl = runnable(position);
    return impl ? impl->name : NULL;
}

static const sha256_impl *current(void) {
    if (!selected) {
        selected = runnable(0);
    }
    return selected;
}

const char *sha256_selected(void) { return current()->name; }

int sha256_select(const char *name) {
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(implementations[i].name, name) == 0 && implementations[i].usable()) {
            selected = &implementations[i];
            return 0;
        }
    }
    return -1;
}

void sha256_many(uint8_t *out, const uint8_t *in, size_t n, sha256_job job) { current()->hash(out, in, n, job); }
