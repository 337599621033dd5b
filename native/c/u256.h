/* Unsigned 256-bit integers on four 64-bit limbs, least significant first: just what proof of work needs. */
#ifndef SPVNODE_U256_H
#define SPVNODE_U256_H

#include <stdint.h>

#include "bytes.h"

typedef struct {
    uint64_t limb[4];
} u256;

static inline u256 u256_get(const uint8_t *p) {
    return (u256){{get64(p), get64(p + 8), get64(p + 16), get64(p + 24)}};
}

static inline void u256_put(uint8_t *p, const u256 *x) {
    for (int i = 0; i < 4; i++) {
        put64(p + 8 * i, x->limb[i]);
    }
}

/* a > b. The top limb decides nearly always. */
static inline int u256_above(const u256 *a, const u256 *b) {
    for (int i = 3; i > 0; i--) {
        if (a->limb[i] != b->limb[i]) {
            return a->limb[i] > b->limb[i];
        }
    }
    return a->limb[0] > b->limb[0];
}

/* a += b modulo 2^256; returns the carry. */
static inline int u256_add(u256 *a, const u256 *b) {
    uint64_t carry = 0;
    for (int i = 0; i < 4; i++) {
        const uint64_t sum = a->limb[i] + b->limb[i];
        const uint64_t carried = sum + carry;
        carry = (sum < b->limb[i]) | (carried < carry);
        a->limb[i] = carried;
    }
    return (int)carry;
}

/* Position of the highest bit set, counted from 1; 0 for zero. */
int u256_bits(const u256 *x);
/* x * factor / divisor, exact in the 288 bits of the product; 2^256 - 1 where the quotient does not fit. */
u256 u256_scale(const u256 *x, uint32_t factor, uint32_t divisor);

/* Compact form of a target ("nBits"): 1 byte of size, 3 of mantissa. 0 when done; -1 when the value is negative, zero
 * or wider than 256 bits, as Bitcoin Core's arith_uint256::SetCompact says it. */
int target_from_compact(uint32_t bits, u256 *target);
uint32_t target_to_compact(const u256 *target);
/* floor(2^256 / (target + 1)): how many hashes a block at this target stands for. */
u256 work_of_target(const u256 *target);

#endif
