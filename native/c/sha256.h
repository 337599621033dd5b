/* SHA-256 of many short messages of one shape: the only hashing a header chain needs (FIPS 180-4).
 *
 * A message is 64 bytes (two joined tree nodes) or 80 bytes (a Bitcoin block header). Hashing many at once is what
 * makes it fast: one message is bound by the latency of its rounds, several fill the pipeline. */
#ifndef SPVNODE_SHA256_H
#define SPVNODE_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    SHA256D_HEADER, /* n * 80 bytes -> n * 32, SHA-256 twice */
    SHA256D_PAIR,   /* n * 64 bytes -> n * 32, SHA-256 twice: Bitcoin tree nodes */
    SHA256_PAIR     /* n * 64 bytes -> n * 32, SHA-256 once: SSZ tree nodes */
} sha256_job;

/* `out` must not overlap `in`. Neither needs alignment. n may be 0. */
typedef void sha256_fn(uint8_t *out, const uint8_t *in, size_t n, sha256_job job);

typedef struct {
    const char *name;
    sha256_fn *hash;
    int (*usable)(void); /* does this CPU, under this operating system, run it? */
} sha256_impl;

/* The selected implementation; the best one until sha256_select says otherwise. */
void sha256_many(uint8_t *out, const uint8_t *in, size_t n, sha256_job job);

/* Names of what this CPU can run, best first; NULL past the last. */
const char *sha256_runnable(size_t position);
const char *sha256_selected(void);
/* 0 when done, -1 when this CPU cannot run it or no such name exists. For start-up and tests: a call that another
 * thread is in goes on with the implementation it began with. */
int sha256_select(const char *name);

extern const uint32_t sha256_k[64];
extern const uint32_t sha256_init[8];
/* k + message schedule of the padding block that follows 64 bytes: it never changes, so it needs no schedule. */
extern const uint32_t sha256_pad64_wk[64];

static inline size_t sha256_job_size(sha256_job job) { return job == SHA256D_HEADER ? 80 : 64; }

sha256_fn sha256_portable;
#if defined(__GNUC__) && defined(__x86_64__)
#define SHA256_HAVE_X86 1
sha256_fn sha256_shani1, sha256_shani2, sha256_shani3, sha256_shani4evex, sha256_avx2;
#endif
/* clang before 16 declares the SHA intrinsics only under a whole-file -march flag: it gets the portable code. */
#if defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__) && \
    (!defined(__clang__) || __clang_major__ >= 16)
#define SHA256_HAVE_ARMV8 1
sha256_fn sha256_armv8;
#endif

#endif
