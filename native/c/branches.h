/* Merkle branches of many leaves against one root. */
#ifndef SPVNODE_BRANCHES_H
#define SPVNODE_BRANCHES_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

enum {
    /* Leaves a call: what fits the stack of any thread (48 KB here), and more than one message ever carries. */
    MAX_BRANCH_LEAVES = 1024,
    MAX_BRANCH_DEPTH = 32 /* an index is 32 bits */
};

/* `leaves` n * 32 bytes; `siblings` n * depth * 32, leaf by leaf, each from the bottom up; `indices` n little-endian
 * 32-bit positions of the leaves in a tree of 2^depth. `pair` is SHA256D_PAIR or SHA256_PAIR. Returns -1 when every
 * leaf leads to `root`, else the position of the first that does not. n and depth must be within the limits above. */
int branches_verify(const uint8_t *leaves, const uint8_t *siblings, const uint8_t *indices, int n, int depth,
                    const uint8_t root[32], sha256_job pair);

#endif
