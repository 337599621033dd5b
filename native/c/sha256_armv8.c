/* SHA-256 on the ARMv8 SHA2 instructions, two messages interleaved. */
#include "sha256.h"

#ifdef SHA256_HAVE_ARMV8

#include <arm_neon.h>

typedef uint32x4_t quad;

#define QUAD_LOAD(p) vld1q_u32(p)
#define QUAD_LOAD_BE(p) vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p)))
#define QUAD_STORE_BE(p, q) vst1q_u8(p, vrev32q_u8(vreinterpretq_u8_u32(q)))
#define QUAD_ADD(a, b) vaddq_u32(a, b)
#define QUAD_ROUNDS01(s0, s1, wk)             \
    do {                                      \
        const quad before_ = s0;              \
        s0 = vsha256hq_u32(s0, s1, wk);       \
        s1 = vsha256h2q_u32(s1, before_, wk); \
    } while (0)
#define QUAD_ROUNDS23(s0, s1, wk) (void)0
#define QUAD_SCHEDULE0(a, b) vsha256su0q_u32(a, b)
#define QUAD_SCHEDULE1(x, c, d) vsha256su1q_u32(x, c, d)
#define QUAD_INIT0 QUAD_LOAD(sha256_init)
#define QUAD_INIT1 QUAD_LOAD(sha256_init + 4)
#define QUAD_WORDS0(s0, s1) (s0)
#define QUAD_WORDS1(s0, s1) (s1)
#include "sha256_pad.h"

#ifdef __clang__
#define SHA2_TARGET __attribute__((target("sha2")))
#else
#define SHA2_TARGET __attribute__((target("+crypto")))
#endif

static sha256_fn sha256_armv8_single;

#define LANES 1
#define TARGET SHA2_TARGET
#define QUADS(name) name##_1
#define QUADS_FN sha256_armv8_single
#include "sha256_quads.h"

#define LANES 2
#define TARGET SHA2_TARGET
#define QUADS(name) name##_2
#define QUADS_FN sha256_armv8
#define TAIL_FN sha256_armv8_single
#include "sha256_quads.h"

#endif
