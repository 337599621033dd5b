/* Hash -> position for an append-only list of 32-byte hashes, without storing the hashes.
 *
 * Kept are a 32-bit fingerprint per position and an open-addressing table of positions: 9 to 16 bytes for each hash. A
 * lookup gives the positions whose fingerprint matches; the caller has the headers and sees which one is meant. */
#ifndef SPVNODE_HASHINDEX_H
#define SPVNODE_HASHINDEX_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t multiplier;    /* odd and secret: nobody can choose hashes that share a fingerprint */
    uint32_t *fingerprints; /* by position */
    uint32_t *slots;        /* position + 1, 0 when free; linear probing from the fingerprint's top bits */
    size_t count, capacity, n_slots;
    int shift; /* 32 - log2(n_slots) */
} hashindex;

#define HASHINDEX_NONE UINT32_MAX

/* Each returns 0, or -1 when there is no memory; the index is then as it was. */
int hashindex_init(hashindex *index, uint64_t seed);
int hashindex_append(hashindex *index, const uint8_t *hashes, size_t n);

void hashindex_free(hashindex *index);
/* Forgets the positions from `count` on. */
void hashindex_truncate(hashindex *index, size_t count);
/* The next position that matches `hash`, or HASHINDEX_NONE. *cursor is 0 at first and is moved on. */
uint32_t hashindex_next(const hashindex *index, const uint8_t hash[32], size_t *cursor);
size_t hashindex_bytes(const hashindex *index);

#endif
