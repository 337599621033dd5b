#include "hashindex.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"

enum { FIRST_BITS = 10 /* 1,024 slots: 4 KB before anything is stored */, MAX_BITS = 32 };
/* Positions are 32 bits and two values are taken; no chain gets there in 30,000 years. */
#define MAX_COUNT ((size_t)UINT32_MAX - 1)

/* The first 8 bytes are free of the zeros that proof of work leaves at the end. */
static uint32_t fingerprint(const hashindex *x, const uint8_t *hash) {
    return (uint32_t)((get64(hash) * x->multiplier) >> 32);
}

static size_t home(const hashindex *x, uint32_t fp) { return fp >> x->shift; }
static size_t next_slot(const hashindex *x, size_t slot) { return (slot + 1) & (x->n_slots - 1); }

int hashindex_init(hashindex *x, uint64_t seed) {
    memset(x, 0, sizeof *x);
    x->multiplier = seed | 1;
    x->shift = 32 - FIRST_BITS;
    x->slots = calloc((size_t)1 << FIRST_BITS, sizeof *x->slots);
    x->n_slots = x->slots ? (size_t)1 << FIRST_BITS : 0;
    return x->slots ? 0 : -1;
}

void hashindex_free(hashindex *x) {
    free(x->fingerprints);
    free(x->slots);
    memset(x, 0, sizeof *x);
}

static void insert(hashindex *x, size_t position) {
    size_t slot = home(x, x->fingerprints[position]);
    while (x->slots[slot]) {
        slot = next_slot(x, slot);
    }
    x->slots[slot] = (uint32_t)(position + 1);
}

/* Room for `count` fingerprints, a quarter more than asked when it must grow. */
static int reserve_fingerprints(hashindex *x, size_t count) {
    if (count <= x->capacity) {
        return 0;
    }
    const size_t capacity = count + count / 4;
    uint32_t *grown = realloc(x->fingerprints, capacity * sizeof *grown);
    if (!grown) {
        return -1;
    }
    x->fingerprints = grown;
    x->capacity = capacity;
    return 0;
}

/* Slots for `count` positions at most three quarters full, doubling. */
static int reserve_slots(hashindex *x, size_t count) {
    int shift = x->shift;
    while (shift > 32 - MAX_BITS && count > ((size_t)3 << (32 - shift)) / 4) {
        shift--;
    }
    if (shift == x->shift) {
        return 0;
    }
    const size_t n_slots = (size_t)1 << (32 - shift);
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots) {
        return -1;
    }
    free(x->slots);
    x->slots = slots, x->n_slots = n_slots, x->shift = shift;
    for (size_t position = 0; position < x->count; position++) {
        insert(x, position);
    }
    return 0;
}

int hashindex_append(hashindex *x, const uint8_t *hashes, size_t n) {
    if (n > MAX_COUNT - x->count || reserve_fingerprints(x, x->count + n) || reserve_slots(x, x->count + n)) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        x->fingerprints[x->count] = fingerprint(x, hashes + 32 * i);
        insert(x, x->count++);
    }
    return 0;
}

/* The last one in leaves first. Its slot was free before it came, so no other entry probed past it, and emptying the
 * slot leaves the table exactly as it was then; growing inserts in the same order, which keeps that true. */
void hashindex_truncate(hashindex *x, size_t count) {
    while (x->count > count) {
        size_t slot = home(x, x->fingerprints[--x->count]);
        while (x->slots[slot] != x->count + 1) {
            slot = next_slot(x, slot);
        }
        x->slots[slot] = 0;
    }
}

uint32_t hashindex_next(const hashindex *x, const uint8_t hash[32], size_t *cursor) {
    const uint32_t fp = fingerprint(x, hash);
    for (;;) {
        const uint32_t entry = x->slots[(home(x, fp) + *cursor) & (x->n_slots - 1)];
        if (!entry) {
            return HASHINDEX_NONE;
        }
        ++*cursor;
        if (x->fingerprints[entry - 1] == fp) {
            return entry - 1;
        }
    }
}

size_t hashindex_bytes(const hashindex *x) {
    return x->capacity * sizeof *x->fingerprints + x->n_slots * sizeof *x->slots;
}
