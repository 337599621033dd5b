/* Golomb-coded sets as BIP158's basic filter has them: CompactSize N, then N sorted values as differences, each a unary
 * quotient and a remainder of 19 bits, from the highest bit of each byte down. A value is an item's SipHash-2-4, scaled
 * to 0 .. N * 784,931 - 1. */
#ifndef SPVNODE_GCS_H
#define SPVNODE_GCS_H

#include <stddef.h>
#include <stdint.h>

enum { GCS_REMAINDER_BITS = 19 /* P */, GCS_INVERSE_RATE = 784931 /* M */, GCS_KEY_SIZE = 16 };
enum { GCS_ABSENT = 0, GCS_PRESENT = 1, GCS_MALFORMED = 2 };

/* Items in a row: u32 little-endian size, and as many bytes, each. The number of them, or -1 when they do not come out
 * even. */
int64_t gcs_count_items(const uint8_t *items, size_t size);
/* The next of checked items: its size; *items is moved to its first byte. */
size_t gcs_next_item(const uint8_t **items);

/* Bytes that gcs_match works in for `n` items, at any address. */
size_t gcs_workspace(size_t n);
/* Is one of the items in the filter? Reads no further than it needs for the answer: GCS_MALFORMED only for what it
 * read. */
int gcs_match(const uint8_t *filter, size_t size, const uint8_t key[GCS_KEY_SIZE], const uint8_t *items, size_t n,
              uint8_t *workspace);

/* Number of values in a filter, -1 when it cannot hold what it says: safe to allocate for. */
int64_t gcs_size(const uint8_t *filter, size_t size);
/* All values, 8 bytes little-endian each: 0, or -1 when the filter does not hold exactly its N values. */
int gcs_decode(const uint8_t *filter, size_t size, uint8_t *values);
/* Each item's hash, scaled to 0 .. modulus - 1: 8 bytes little-endian each. */
void siphash_scaled(const uint8_t key[GCS_KEY_SIZE], const uint8_t *items, size_t n, uint64_t modulus, uint8_t *out);

#endif
