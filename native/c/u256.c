/* The slow half of u256.h: what runs once per change of the target, not once per header. */
#include "u256.h"

int u256_bits(const u256 *x) {
    for (int i = 3; i >= 0; i--) {
        if (x->limb[i]) {
            int bits = 64 * i;
            for (uint64_t v = x->limb[i]; v; v >>= 1) {
                bits++;
            }
            return bits;
        }
    }
    return 0;
}

static u256 shift_left(const u256 *x, int by) {
    u256 r = {{0, 0, 0, 0}};
    const int limbs = by / 64, bits = by % 64;
    for (int i = 3; i >= limbs; i--) {
        r.limb[i] = x->limb[i - limbs] << bits;
        if (bits && i > limbs) {
            r.limb[i] |= x->limb[i - limbs - 1] >> (64 - bits);
        }
    }
    return r;
}

static u256 shift_right(const u256 *x, int by) {
    u256 r = {{0, 0, 0, 0}};
    const int limbs = by / 64, bits = by % 64;
    for (int i = 0; i + limbs < 4; i++) {
        r.limb[i] = x->limb[i + limbs] >> bits;
        if (bits && i + limbs < 3) {
            r.limb[i] |= x->limb[i + limbs + 1] << (64 - bits);
        }
    }
    return r;
}

static void subtract(u256 *a, const u256 *b) {
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        const uint64_t low = a->limb[i] - b->limb[i];
        const uint64_t next = (uint64_t)(a->limb[i] < b->limb[i]) | (uint64_t)(low < borrow);
        a->limb[i] = low - borrow;
        borrow = next;
    }
}

u256 u256_scale(const u256 *x, uint32_t factor, uint32_t divisor) {
    /* 32-bit digits: every step of both operations then fits 64 bits. The easiest limits (regtest) times a timespan
     * need the ninth digit. */
    uint32_t digits[9];
    uint64_t carry = 0;
    for (int i = 0; i < 8; i++) {
        carry += (uint64_t)(uint32_t)(x->limb[i / 2] >> (32 * (i % 2))) * factor;
        digits[i] = (uint32_t)carry;
        carry >>= 32;
    }
    digits[8] = (uint32_t)carry;
    uint64_t rest = 0;
    for (int i = 8; i >= 0; i--) {
        rest = rest << 32 | digits[i];
        digits[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    if (digits[8]) {
        return (u256){{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    }
    u256 r;
    for (int i = 0; i < 4; i++) {
        r.limb[i] = digits[2 * i] | (uint64_t)digits[2 * i + 1] << 32;
    }
    return r;
}

#define COMPACT_SIGN 0x00800000u

int target_from_compact(uint32_t bits, u256 *target) {
    const int size = (int)(bits >> 24);
    uint32_t mantissa = bits & (COMPACT_SIGN - 1);
    if (size < 3) {
        mantissa >>= 8 * (3 - size);
    }
    if (mantissa == 0 || (bits & COMPACT_SIGN)) {
        return -1;
    }
    const u256 value = {{mantissa, 0, 0, 0}};
    if (size > 3 && 8 * (size - 3) + u256_bits(&value) > 256) {
        return -1;
    }
    *target = size > 3 ? shift_left(&value, 8 * (size - 3)) : value;
    return 0;
}

uint32_t target_to_compact(const u256 *target) {
    int size = (u256_bits(target) + 7) / 8;
    const u256 top = size > 3 ? shift_right(target, 8 * (size - 3)) : shift_left(target, 8 * (3 - size));
    uint32_t mantissa = (uint32_t)top.limb[0];
    if (mantissa & COMPACT_SIGN) { /* would read as negative: one byte less of mantissa */
        mantissa >>= 8;
        size++;
    }
    return mantissa | (uint32_t)size << 24;
}

u256 work_of_target(const u256 *target) {
    /* 2^256 itself does not fit: floor(2^256 / d) = floor((2^256 - d) / d) + 1, and 2^256 - d is ~target. Long
     * division, bit by bit from the first one that can be set: a target of b bits leaves a quotient of 257 - b. */
    const u256 one = {{1, 0, 0, 0}};
    u256 divisor = *target, quotient = {{0, 0, 0, 0}};
    if (u256_add(&divisor, &one)) {
        return one; /* target 2^256 - 1 */
    }
    u256 rest = {{~target->limb[0], ~target->limb[1], ~target->limb[2], ~target->limb[3]}};
    for (int shift = u256_bits(&rest) - u256_bits(&divisor); shift >= 0; shift--) {
        const u256 part = shift_left(&divisor, shift);
        if (!u256_above(&part, &rest)) {
            subtract(&rest, &part);
            quotient.limb[shift / 64] |= (uint64_t)1 << (shift % 64);
        }
    }
    u256_add(&quotient, &one);
    return quotient;
}
