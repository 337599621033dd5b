/* Two ways to the same answer.
 *
 * Together: leaves share their upper branches, so each distinct node is hashed once. Where two paths meet, each node
 * is compared with the sibling that the other path's leaves supplied, and what they supplied from there on with each
 * other. When that finds nothing wrong, every branch taken alone would have gone through the very same nodes: all are
 * good.
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

/* Leaf positions sorted by index, byte by byte from the lowest: no worst case for a peer to find, no allocation. */
static void sort_leaves(const batch *b, uint16_t *order, uint16_t *other) {
    int sorted = 1;
    for (int i = 0; i < b->n; i++) {
        order[i] = (uint16_t)i;
        sorted &= i == 0 || index_of(b, i - 1) <= index_of(b, i);
    }
    for (int shift = 0; shift < b->depth && !sorted; shift += 8) {
        uint16_t place[257] = {0};
        for (int i = 0; i < b->n; i++) {
            place[(index_of(b, i) >> shift & 255) + 1]++;
        }
        for (int value = 0; value < 255; value++) {
            place[value + 1] = (uint16_t)(place[value + 1] + place[value]);
        }
        for (int i = 0; i < b->n; i++) {
            other[place[index_of(b, order[i]) >> shift & 255]++] = order[i];
        }
        memcpy(order, other, (size_t)b->n * sizeof *order);
    }
}

/* The distinct nodes of one level, from left to right. All leaves under a node were found to agree on their branches
 * from this level up, so that one of them speaks for all. */
typedef struct {
    int count;
    uint32_t index[MAX_BRANCH_LEAVES];
    uint16_t leaf[MAX_BRANCH_LEAVES];
    uint8_t hash[MAX_BRANCH_LEAVES * HASH];
} level_nodes;

static int same_from(const batch *b, int leaf, int other, int level) {
    return memcmp(sibling(b, leaf, level), sibling(b, other, level), (size_t)(b->depth - level) * HASH) == 0;
}

/* Level 0. 0 when an index is outside the tree, or comes twice with different leaves or branches. */
static int take_leaves(const batch *b, level_nodes *t) {
    uint16_t order[MAX_BRANCH_LEAVES];
    sort_leaves(b, order, t->leaf);
    t->count = 0;
    for (int i = 0; i < b->n; i++) {
        const int leaf = order[i], last = t->count - 1;
        const uint8_t *hash = b->leaves + HASH * leaf;
        if (!in_tree(b, leaf)) {
            return 0;
        }
        if (last >= 0 && index_of(b, leaf) == t->index[last]) {
            if (memcmp(hash, t->hash + HASH * last, HASH) != 0 || !same_from(b, leaf, t->leaf[last], 0)) {
                return 0;
            }
            continue;
        }
        t->index[t->count] = index_of(b, leaf);
        t->leaf[t->count] = (uint16_t)leaf;
        memcpy(t->hash + HASH * t->count++, hash, HASH);
    }
    return 1;
}

/* Are nodes i and i + 1 of this level what the other's leaves brought as its sibling, and do both go on alike? */
static int siblings_agree(const batch *b, const level_nodes *t, int i, int level) {
    const uint8_t *left = t->hash + HASH * i, *right = left + HASH;
    return memcmp(sibling(b, t->leaf[i], level), right, HASH) == 0 &&
           memcmp(sibling(b, t->leaf[i + 1], level), left, HASH) == 0 &&
           same_from(b, t->leaf[i], t->leaf[i + 1], level + 1);
}

/* From the nodes of `level` to their parents, in place. 0 when siblings disagree. */
static int climb(const batch *b, level_nodes *t, int level) {
    uint8_t pairs[CHUNK * PAIR];
    int parents = 0, hashed = 0;
    for (int i = 0; i < t->count;) {
        const int both = i + 1 < t->count && (t->index[i] ^ t->index[i + 1]) == 1;
        if (both && !siblings_agree(b, t, i, level)) {
            return 0;
        }
        join(pairs + PAIR * (parents - hashed), t->hash + HASH * i, sibling(b, t->leaf[i], level), t->index[i] & 1);
        t->index[parents] = t->index[i] >> 1;
        t->leaf[parents++] = t->leaf[i];
        i += both ? 2 : 1;
        if (parents - hashed == CHUNK || i == t->count) {
            /* parents <= i: this only overwrites nodes that were read already. */
            sha256_many(t->hash + HASH * hashed, pairs, (size_t)(parents - hashed), b->pair);
            hashed = parents;
        }
    }
    t->count = parents;
    return 1;
}

static int all_good_together(const batch *b) {
    level_nodes t;
    if (!take_leaves(b, &t)) {
        return 0;
    }
    for (int level = 0; level < b->depth; level++) {
        if (!climb(b, &t, level)) {
            return 0;
        }
    }
    return memcmp(t.hash, b->root, HASH) == 0; /* every index is below 2^depth: one node is left */
}

int branches_verify(const uint8_t *leaves, const uint8_t *siblings, const uint8_t *indices, int n, int depth,
                    const uint8_t root[32], sha256_job pair) {
    const batch b = {leaves, siblings, indices, root, n, depth, pair};
    return n == 0 || all_good_together(&b) ? -1 : verify_alone(&b);
}
