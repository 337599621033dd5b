/* Two ways to the same answer.
 *
 * Together: leaves share their upper branches, so each distinct node is hashed once, and every sibling that was
 * supplied is compared with the node that was computed, or with the copy that a neighbour supplied. When that finds
 * nothing wrong, every branch taken alone would have gone through the very same nodes: all are good.
 *
 * Alone: when it does find something, each branch is hashed by itself (many at a time), which tells the first bad
 * leaf. The answer is thus always that of the plain loop. */
#include "branches.h"

#include <string.h>

#include "bytes.h"

enum { HASH = 32, PAIR = 64, CHUNK = 64 /* pairs hashed at a time: 4 KB, every lane full */ };

typedef struct {
    const uint8_t *leaves, *siblings, *indices, *root;
    int n, depth;
    sha256_job pair;
} batch;

static uint32_t index_of(const batch *b, int leaf) { return get32(b->indices + 4 * leaf); }

static int in_tree(const batch *b, int leaf) { return (uint64_t)index_of(b, leaf) >> b->depth == 0; }

static const uint8_t *sibling(const batch *b, int leaf, int level) {
    return b->siblings + ((size_t)leaf * (size_t)b->depth + (size_t)level) * HASH;
}

/* `bit` is the node's own side: 0 left, 1 right. */
static void join(uint8_t pair[PAIR], const uint8_t *node, const uint8_t *other, uint32_t bit) {
    memcpy(pair + (bit ? HASH : 0), node, HASH);
    memcpy(pair + (bit ? 0 : HASH), other, HASH);
}

/* Position of the first bad leaf of `count` from `first` on, or -1. */
static int first_bad(const batch *b, int first, int count) {
    uint8_t nodes[CHUNK * HASH], pairs[CHUNK * PAIR];
    memcpy(nodes, b->leaves + HASH * first, (size_t)count * HASH);
    for (int level = 0; level < b->depth; level++) {
        for (int i = 0; i < count; i++) {
            join(pairs + PAIR * i, nodes + HASH * i, sibling(b, first + i, level),
                 index_of(b, first + i) >> level & 1);
        }
        sha256_many(nodes, pairs, (size_t)count, b->pair);
    }
    for (int i = 0; i < count; i++) {
        if (!in_tree(b, first + i) || memcmp(nodes + HASH * i, b->root, HASH) != 0) {
            return first + i;
        }
    }
    return -1;
}

static int verify_alone(const batch *b) {
    int bad = -1;
    for (int first = 0; first < b->n && bad < 0; first += CHUNK) {
        bad = first_bad(b, first, b->n - first < CHUNK ? b->n - first : CHUNK);
    }
    return bad;
}

/* The distinct nodes of one level, from left to right. */
typedef struct {
    int count;
    uint32_t index[MAX_BRANCH_LEAVES];
    /* The leaves under node i are order[start[i]] .. order[start[i + 1] - 1]. */
    uint16_t start[MAX_BRANCH_LEAVES + 1];
    uint16_t order[MAX_BRANCH_LEAVES];
    uint8_t hash[MAX_BRANCH_LEAVES * HASH];
} level_nodes;

/* Leaf positions sorted by index. Merge sort: no worst case for a peer to find, and no allocation. */
static void sort_leaves(const batch *b, uint16_t *order, uint16_t *other) {
    int sorted = 1;
    for (int i = 0; i < b->n; i++) {
        order[i] = (uint16_t)i;
        sorted &= i == 0 || index_of(b, i - 1) <= index_of(b, i);
    }
    if (sorted) {
        return;
    }
    for (int width = 1; width < b->n; width *= 2) {
        for (int low = 0; low < b->n; low += 2 * width) {
            const int middle = low + width < b->n ? low + width : b->n;
            const int high = low + 2 * width < b->n ? low + 2 * width : b->n;
            for (int i = low, j = middle, k = low; k < high; k++) {
                const int left = i < middle && (j == high || index_of(b, order[i]) <= index_of(b, order[j]));
                other[k] = order[left ? i++ : j++];
            }
        }
        memcpy(order, other, (size_t)b->n * sizeof *order);
    }
}

/* Groups the leaves into nodes of level 0. 0 when leaves of one index differ or an index is outside the tree. */
static int group_leaves(const batch *b, level_nodes *t) {
    sort_leaves(b, t->order, t->start);
    t->count = 0;
    for (int i = 0; i < b->n; i++) {
        const int leaf = t->order[i];
        const uint8_t *hash = b->leaves + HASH * leaf;
        if (!in_tree(b, leaf)) {
            return 0;
        }
        if (t->count > 0 && index_of(b, leaf) == t->index[t->count - 1]) {
            if (memcmp(hash, t->hash + HASH * (t->count - 1), HASH) != 0) {
                return 0;
            }
            continue;
        }
        t->index[t->count] = index_of(b, leaf);
        t->start[t->count] = (uint16_t)i;
        memcpy(t->hash + HASH * t->count++, hash, HASH);
    }
    t->start[t->count] = (uint16_t)b->n;
    return 1;
}

/* Do all leaves under `node` bring `expected` as their sibling at this level? */
static int siblings_agree(const batch *b, const level_nodes *t, int node, int level, const uint8_t *expected) {
    for (int i = t->start[node]; i < t->start[node + 1]; i++) {
        if (memcmp(sibling(b, t->order[i], level), expected, HASH) != 0) {
            return 0;
        }
    }
    return 1;
}

/* From the nodes of `level` to their parents, in place. 0 when siblings disagree. */
static int climb(const batch *b, level_nodes *t, int level) {
    uint8_t pairs[CHUNK * PAIR];
    int parents = 0, hashed = 0;
    for (int i = 0; i < t->count;) {
        const int both = i + 1 < t->count && (t->index[i] ^ t->index[i + 1]) == 1;
        const uint8_t *node = t->hash + HASH * i;
        const uint8_t *other = both ? node + HASH : sibling(b, t->order[t->start[i]], level);
        if (!siblings_agree(b, t, i, level, other) || (both && !siblings_agree(b, t, i + 1, level, node))) {
            return 0;
        }
        join(pairs + PAIR * (parents - hashed), node, other, t->index[i] & 1);
        t->index[parents] = t->index[i] >> 1;
        t->start[parents++] = t->start[i];
        i += both ? 2 : 1;
        if (parents - hashed == CHUNK || i == t->count) {
            /* parents <= i: this only overwrites nodes that were read already. */
            sha256_many(t->hash + HASH * hashed, pairs, (size_t)(parents - hashed), b->pair);
            hashed = parents;
        }
    }
    t->start[parents] = (uint16_t)b->n;
    t->count = parents;
    return 1;
}

/* From `level` on, where one node is left: all branches must end alike. 0 when they do not lead to the root. */
static int climb_alone(const batch *b, level_nodes *t, int level) {
    const uint8_t *rest = sibling(b, 0, level);
    for (int leaf = 1; leaf < b->n; leaf++) {
        if (memcmp(sibling(b, leaf, level), rest, (size_t)(b->depth - level) * HASH) != 0) {
            return 0;
        }
    }
    for (uint32_t index = t->index[0]; level < b->depth; level++, index >>= 1) {
        uint8_t pair[PAIR];
        join(pair, t->hash, sibling(b, 0, level), index & 1);
        sha256_many(t->hash, pair, 1, b->pair);
    }
    return memcmp(t->hash, b->root, HASH) == 0;
}

static int all_good_together(const batch *b) {
    level_nodes t;
    if (!group_leaves(b, &t)) {
        return 0;
    }
    int level = 0;
    for (; t.count > 1; level++) { /* every index is below 2^depth: at depth, one node is left */
        if (!climb(b, &t, level)) {
            return 0;
        }
    }
    return climb_alone(b, &t, level);
}

int branches_verify(const uint8_t *leaves, const uint8_t *siblings, const uint8_t *indices, int n, int depth,
                    const uint8_t root[32], sha256_job pair) {
    const batch b = {leaves, siblings, indices, root, n, depth, pair};
    return n == 0 || all_good_together(&b) ? -1 : verify_alone(&b);
}
