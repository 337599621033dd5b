/* SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012). */
#ifndef SPVNODE_SIPHASH_H
#define SPVNODE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

typedef struct {
    uint64_t a, b, c, d;
} sip_state;

static inline uint64_t sip_rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void sip_round(sip_state *s) {
    s->a += s->b, s->b = sip_rotl(s->b, 13) ^ s->a, s->a = sip_rotl(s->a, 32);
    s->c += s->d, s->d = sip_rotl(s->d, 16) ^ s->c;
    s->a += s->d, s->d = sip_rotl(s->d, 21) ^ s->a;
    s->c += s->b, s->b = sip_rotl(s->b, 17) ^ s->c, s->c = sip_rotl(s->c, 32);
}

static inline void sip_word(sip_state *s, uint64_t word) {
    s->d ^= word;
    sip_round(s);
    sip_round(s);
    s->a ^= word;
}

/* `key` is two little-endian words, as BIP158 takes them from a block's hash. */
static inline uint64_t siphash24(const uint8_t key[16], const uint8_t *data, size_t n) {
    const uint64_t k0 = get64(key), k1 = get64(key + 8);
    sip_state s = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                   k1 ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)n << 56;
    for (; n >= 8; data += 8, n -= 8) {
        sip_word(&s, get64(data));
    }
    for (size_t i = 0; i < n; i++) {
        last |= (uint64_t)data[i] << (8 * i);
    }
    sip_word(&s, last);
    s.c ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(&s);
    }
    return s.a ^ s.b ^ s.c ^ s.d;
}

#endif
