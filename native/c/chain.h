/* Bitcoin's header rules over a run of linked headers. */
#ifndef SPVNODE_CHAIN_H
#define SPVNODE_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "u256.h"

/* Ancestors whose median is a header's earliest time (BIP113 calls it median time past). */
enum { MEDIAN_TIME_SPAN = 11 };

/* The first rule that a header broke, in the order in which they are checked. The names are Bitcoin Core's. */
typedef enum {
    RUN_GOOD = 0,
    PREV_BLK_NOT_FOUND = 1,
    BAD_DIFFBITS = 2,
    HIGH_HASH = 3,
    TIME_TOO_OLD = 4,
    TIME_TIMEWARP_ATTACK = 5,
    TIME_TOO_NEW = 6,
    BAD_VERSION = 7
} run_reason;

/* One network's rules. Packed: "<32s I I I I i i i B B B B", little-endian. */
enum { PARAMS_SIZE = 64 };
typedef struct {
    u256 pow_limit;
    uint32_t pow_limit_bits;
    uint32_t timespan; /* s, of one retarget interval */
    uint32_t spacing;  /* s, of one block */
    uint32_t interval; /* blocks between retargets */
    int32_t bip34_height, bip66_height, bip65_height;
    int allow_min_difficulty, no_retargeting, bip94;
} chain_params;

/* All that the rules need to know of the headers before a run. Packed: "<I 32s I I I I B 11I 32s". */
enum { CONTEXT_SIZE = 129 };
typedef struct {
    uint32_t height; /* of the run's first header */
    uint8_t prev_hash[32];
    uint32_t prev_bits, period_start_time, period_start_bits, last_real_bits;
    int n_times;
    uint32_t times[MEDIAN_TIME_SPAN]; /* of the ancestors, oldest first */
    u256 chainwork;                   /* up to height - 1 */
} run_context;

/* 0, or -1 when the packed values cannot be those of a network or a place in a chain. */
int chain_params_unpack(chain_params *params, const uint8_t packed[PARAMS_SIZE]);
int run_context_unpack(run_context *context, const uint8_t packed[CONTEXT_SIZE]);
void run_context_pack(const run_context *context, uint8_t packed[CONTEXT_SIZE]);

/* Checks n headers of 80 bytes, writes their hashes (n * 32; those past the first bad header are undefined) and moves
 * `context` past the good ones. Returns RUN_GOOD or the first bad header's reason; the number of good ones is how far
 * context->height moved. context->height + n must fit 32 bits. `max_time`: the latest time allowed (now + 7,200 s).
 * At height 0 only link, bits and proof of work are checked: genesis is known by its hash. */
run_reason chain_check_run(const chain_params *params, run_context *context, const uint8_t *headers, size_t n,
                           int64_t max_time, uint8_t *hashes);

#endif
