/* Linked headers from their bodies: 48 bytes each, all but the hash of the parent. */
#ifndef SPVNODE_LINK_H
#define SPVNODE_LINK_H

#include <stddef.h>
#include <stdint.h>

enum { LINK_BODY_SIZE = 48 };

/* Writes n headers of 80 bytes: the first with `prev_hash` for its parent, each other with the hash of the one before
 * it. `headers` must not overlap the others. One hash waits for the last, so this cannot use several lanes. */
void link_headers(uint8_t *headers, const uint8_t *bodies, size_t n, const uint8_t prev_hash[32]);

#endif
