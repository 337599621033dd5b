/* SHA-256 on the x86 SHA extensions (SHA-NI): 1 to 4 messages interleaved.
 *
 * sha256rnds2 takes 4 cycles and one can start every cycle or two, so one message leaves most of the unit idle. A
 * message needs 6 registers: SSE and AVX have 16, which is best used by 2 and 3 messages; the 32 of AVX-512VL are
 * enough for 4 (shani4evex). */
#include "sha256.h"

#ifdef SHA256_HAVE_X86

#include <immintrin.h>

typedef __m128i quad;

#define QUAD_LOAD(p) _mm_load_si128((const __m128i *)(p))
#define BYTE_SWAP _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL)
#define QUAD_LOAD_BE(p) _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p)), BYTE_SWAP)
#define QUAD_STORE_BE(p, q) _mm_storeu_si128((__m128i *)(p), _mm_shuffle_epi8(q, BYTE_SWAP))
#define QUAD_ADD(a, b) _mm_add_epi32(a, b)
#define QUAD_ROUNDS01(s0, s1, wk) s1 = _mm_sha256rnds2_epu32(s1, s0, wk)
#define QUAD_ROUNDS23(s0, s1, wk) s0 = _mm_sha256rnds2_epu32(s0, s1, _mm_shuffle_epi32(wk, 0x0E))
#define QUAD_SCHEDULE0(a, b) _mm_sha256msg1_epu32(a, b)
#define QUAD_SCHEDULE1(x, c, d) _mm_sha256msg2_epu32(_mm_add_epi32(x, _mm_alignr_epi8(d, c, 4)), d)
/* The instructions keep the state as (a, b, e, f) and (c, d, g, h), first word in the highest lane. */
#define QUAD_INIT0 QUAD_LOAD(quad_init)
#define QUAD_INIT1 QUAD_LOAD(quad_init + 4)
#define FIRST_WORD_LOW(q) _mm_shuffle_epi32(q, 0x1B)
#define QUAD_WORDS0(s0, s1) _mm_unpacklo_epi64(FIRST_WORD_LOW(s0), FIRST_WORD_LOW(s1))
#define QUAD_WORDS1(s0, s1) _mm_unpackhi_epi64(FIRST_WORD_LOW(s0), FIRST_WORD_LOW(s1))

static const uint32_t quad_init[8] __attribute__((aligned(16))) = {
    0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, /* f e b a */
    0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372, /* h g d c */
};
#include "sha256_pad.h"

#define LANES 1
#define TARGET __attribute__((target("sha,sse4.1")))
#define QUADS(name) name##_1
#define QUADS_FN sha256_shani1
#include "sha256_quads.h"

#define LANES 2
#define TARGET __attribute__((target("sha,sse4.1")))
#define QUADS(name) name##_2
#define QUADS_FN sha256_shani2
#define TAIL_FN sha256_shani1
#include "sha256_quads.h"

#define LANES 3
#define TARGET __attribute__((target("sha,avx")))
#define QUADS(name) name##_3
#define QUADS_FN sha256_shani3
#define TAIL_FN sha256_shani2
#include "sha256_quads.h"

#define LANES 4
#define TARGET __attribute__((target("sha,avx512vl")))
#define QUADS(name) name##_4evex
#define QUADS_FN sha256_shani4evex
#define TAIL_FN sha256_shani2
#include "sha256_quads.h"

#endif
