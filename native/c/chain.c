/* The rules of validation.cpp (CheckBlockHeader, ContextualCheckBlockHeader) and pow.cpp of Bitcoin Core, over runs. */
#include "chain.h"

#include <string.h>

#include "bytes.h"
#include "sha256.h"

enum {
    HEADER = 80, /* bytes: version 4, previous hash 32, merkle root 32, time 4, bits 4, nonce 4 */
    PREV_HASH_AT = 4,
    TIME_AT = 68,
    BITS_AT = 72,
    /* Headers hashed before they are looked at: enough to fill every lane, few enough to stay in the first-level
     * cache until they are (256 * 112 bytes). */
    BLOCK = 256,
    MAX_TIMEWARP = 600,    /* s, BIP94 */
    MAX_ADJUSTMENT = 4,    /* a retarget changes the target by at most this factor */
    MAX_TIMESPAN = 1 << 29 /* s, so that MAX_ADJUSTMENT times it fits 32 bits */
};

/* A target with what follows from it; worked out only when the bits change. */
typedef struct {
    uint32_t bits;
    int valid;
    u256 target, work;
} difficulty;

typedef struct {
    const chain_params *params;
    run_context *context;
    int64_t max_time;
    uint32_t max_seen; /* latest time so far: later than that is later than any median */
    unsigned oldest;   /* context->times is a ring while the run lasts; this is where it starts */
    uint32_t position; /* context->height modulo the interval, counted along: division is slow */
    /* Two, because networks with the twenty-minute rule change between the limit and the real target all the time. */
    difficulty limit, real;
} run;

int chain_params_unpack(chain_params *params, const uint8_t packed[PARAMS_SIZE]) {
    params->pow_limit = u256_get(packed);
    params->pow_limit_bits = get32(packed + 32);
    params->timespan = get32(packed + 36);
    params->spacing = get32(packed + 40);
    params->interval = get32(packed + 44);
    params->bip34_height = (int32_t)get32(packed + 48);
    params->bip66_height = (int32_t)get32(packed + 52);
    params->bip65_height = (int32_t)get32(packed + 56);
    params->allow_min_difficulty = packed[60] != 0;
    params->no_retargeting = packed[61] != 0;
    params->bip94 = packed[62] != 0;
    return params->interval == 0 || params->timespan == 0 || params->timespan > MAX_TIMESPAN ? -1 : 0;
}

int run_context_unpack(run_context *context, const uint8_t packed[CONTEXT_SIZE]) {
    context->height = get32(packed);
    memcpy(context->prev_hash, packed + 4, 32);
    context->prev_bits = get32(packed + 36);
    context->period_start_time = get32(packed + 40);
    context->period_start_bits = get32(packed + 44);
    context->last_real_bits = get32(packed + 48);
    context->n_times = packed[52];
    for (int i = 0; i < MEDIAN_TIME_SPAN; i++) {
        context->times[i] = get32(packed + 53 + 4 * i);
    }
    context->chainwork = u256_get(packed + 97);
    const int any_ancestor = context->n_times > 0, has_parent = context->height > 0;
    return context->n_times > MEDIAN_TIME_SPAN || any_ancestor != has_parent ? -1 : 0;
}

void run_context_pack(const run_context *context, uint8_t packed[CONTEXT_SIZE]) {
    put32(packed, context->height);
    memcpy(packed + 4, context->prev_hash, 32);
    put32(packed + 36, context->prev_bits);
    put32(packed + 40, context->period_start_time);
    put32(packed + 44, context->period_start_bits);
    put32(packed + 48, context->last_real_bits);
    packed[52] = (uint8_t)context->n_times;
    for (int i = 0; i < MEDIAN_TIME_SPAN; i++) {
        put32(packed + 53 + 4 * i, i < context->n_times ? context->times[i] : 0);
    }
    u256_put(packed + 97, &context->chainwork);
}

static void set_difficulty(difficulty *d, uint32_t bits, const u256 *pow_limit) {
    d->bits = bits;
    d->valid = target_from_compact(bits, &d->target) == 0 && !u256_above(&d->target, pow_limit);
    if (d->valid) {
        d->work = work_of_target(&d->target);
    }
}

static const difficulty *difficulty_of(run *r, uint32_t bits) {
    if (bits == r->limit.bits) {
        return &r->limit;
    }
    if (bits != r->real.bits) {
        set_difficulty(&r->real, bits, &r->params->pow_limit);
    }
    return &r->real;
}

static uint32_t last_time(const run *r) {
    return r->context->times[(r->oldest + (unsigned)r->context->n_times - 1) % MEDIAN_TIME_SPAN];
}

/* CalculateNextWorkRequired. */
static uint32_t retarget(const run *r) {
    const chain_params *p = r->params;
    const run_context *c = r->context;
    if (p->no_retargeting) {
        return c->prev_bits;
    }
    const int64_t shortest = p->timespan / MAX_ADJUSTMENT, longest = (int64_t)p->timespan * MAX_ADJUSTMENT;
    int64_t actual = (int64_t)last_time(r) - c->period_start_time;
    actual = actual < shortest ? shortest : actual > longest ? longest : actual;
    u256 target;
    /* BIP94 starts from the period's first header, whose bits the twenty-minute rule never lowered. */
    if (target_from_compact(p->bip94 ? c->period_start_bits : c->prev_bits, &target) != 0) {
        return c->prev_bits; /* a context that never came from good headers: nothing can match it anyway */
    }
    target = u256_scale(&target, (uint32_t)actual, p->timespan);
    return target_to_compact(u256_above(&target, &p->pow_limit) ? &p->pow_limit : &target);
}

/* GetNextWorkRequired for a header of this time, any height but 0. */
static uint32_t next_bits(const run *r, uint32_t time) {
    const chain_params *p = r->params;
    const run_context *c = r->context;
    if (r->position == 0) {
        return retarget(r);
    }
    if (p->allow_min_difficulty) {
        const int late = (int64_t)time > (int64_t)last_time(r) + 2 * (int64_t)p->spacing;
        return late ? p->pow_limit_bits : c->last_real_bits;
    }
    return c->prev_bits;
}

/* time <= median of the ancestors' times, without sorting: more than half of them must be earlier. */
static int not_after_median(const run *r, uint32_t time) {
    if (time > r->max_seen) {
        return 0;
    }
    int earlier = 0;
    for (int i = 0; i < r->context->n_times; i++) {
        earlier += r->context->times[i] < time; /* the ring's start does not matter */
    }
    return earlier <= r->context->n_times / 2;
}

static int32_t lowest_version(const run *r) {
    const chain_params *p = r->params;
    const int64_t height = r->context->height;
    return height >= p->bip65_height ? 4 : height >= p->bip66_height ? 3 : height >= p->bip34_height ? 2 : INT32_MIN;
}

/* The rules that need the ancestors' times; none holds for genesis. */
static run_reason check_times_and_version(const run *r, uint32_t time, int32_t version) {
    if (not_after_median(r, time)) {
        return TIME_TOO_OLD;
    }
    if (r->params->bip94 && r->position == 0 &&
        (int64_t)time < (int64_t)last_time(r) - MAX_TIMEWARP) {
        return TIME_TIMEWARP_ATTACK;
    }
    if ((int64_t)time > r->max_time) {
        return TIME_TOO_NEW;
    }
    return version < lowest_version(r) ? BAD_VERSION : RUN_GOOD;
}

static void push_time(run *r, uint32_t time) {
    run_context *c = r->context;
    if (c->n_times < MEDIAN_TIME_SPAN) {
        c->times[c->n_times++] = time; /* the ring has not turned yet: oldest is 0 */
    } else {
        c->times[r->oldest] = time;
        r->oldest = r->oldest + 1 == MEDIAN_TIME_SPAN ? 0 : r->oldest + 1;
    }
    r->max_seen = time > r->max_seen ? time : r->max_seen;
}

static void advance(run *r, const difficulty *d, uint32_t time, const uint8_t *hash) {
    run_context *c = r->context;
    const int period_start = r->position == 0;
    if (period_start) {
        c->period_start_time = time;
        c->period_start_bits = d->bits;
    }
    if (period_start || d->bits != r->params->pow_limit_bits) {
        c->last_real_bits = d->bits;
    }
    memcpy(c->prev_hash, hash, 32);
    c->prev_bits = d->bits;
    push_time(r, time);
    u256_add(&c->chainwork, &d->work);
    c->height++;
    r->position = r->position + 1 == r->params->interval ? 0 : r->position + 1;
}

static run_reason check_header(run *r, const uint8_t *header, const uint8_t *hash) {
    const run_context *c = r->context;
    const uint32_t time = get32(header + TIME_AT), bits = get32(header + BITS_AT);
    if (memcmp(header + PREV_HASH_AT, c->prev_hash, 32) != 0) {
        return PREV_BLK_NOT_FOUND;
    }
    if (bits != (c->height == 0 ? r->params->pow_limit_bits : next_bits(r, time))) {
        return BAD_DIFFBITS;
    }
    const difficulty *d = difficulty_of(r, bits);
    if (!d->valid) {
        return BAD_DIFFBITS;
    }
    const u256 value = u256_get(hash);
    if (u256_above(&value, &d->target)) {
        return HIGH_HASH;
    }
    if (c->height > 0) {
        const run_reason reason = check_times_and_version(r, time, (int32_t)get32(header));
        if (reason != RUN_GOOD) {
            return reason;
        }
    }
    advance(r, d, time, hash);
    return RUN_GOOD;
}

/* How many headers from here on are at heights where nothing changes: no genesis, retarget or new version rule. */
static size_t uneventful(const run *r, size_t n) {
    const chain_params *p = r->params;
    const int64_t height = r->context->height;
    const int64_t events[] = {height - r->position + p->interval, p->bip34_height, p->bip66_height, p->bip65_height};
    if (r->position == 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (events[i] > height && (uint64_t)(events[i] - height) < n) {
            n = (size_t)(events[i] - height);
        }
    }
    return n;
}

/* Moves the context past `n` good headers of the bits that the context expects, each newer than all before it. */
static void advance_many(run *r, const difficulty *d, const uint8_t *headers, const uint8_t *hashes, size_t n) {
    run_context *c = r->context;
    for (size_t i = n > MEDIAN_TIME_SPAN ? n - MEDIAN_TIME_SPAN : 0; i < n; i++) {
        push_time(r, get32(headers + HEADER * i + TIME_AT));
    }
    memcpy(c->prev_hash, hashes + 32 * (n - 1), 32);
    c->prev_bits = d->bits;
    const u256 work = u256_scale(&d->work, (uint32_t)n, 1);
    u256_add(&c->chainwork, &work);
    c->height += (uint32_t)n;
    r->position += (uint32_t)n;
    r->position = r->position == r->params->interval ? 0 : r->position;
}

/* Takes headers as long as they are like nearly all are: the bits of their predecessors, newer than any, not late for
 * the twenty-minute rule. Five compares then stand for all rules. Returns how many; the next needs check_header. */
static size_t take_ordinary(run *r, const uint8_t *headers, const uint8_t *hashes, size_t n) {
    const chain_params *p = r->params;
    const uint32_t bits = p->allow_min_difficulty ? r->context->last_real_bits : r->context->prev_bits;
    const int64_t max_gap = p->allow_min_difficulty ? 2 * (int64_t)p->spacing : UINT32_MAX;
    const difficulty *d = difficulty_of(r, bits);
    n = d->valid ? uneventful(r, n) : 0;
    if (n == 0) {
        return 0;
    }
    const u256 target = d->target;
    const int64_t max_time = r->max_time;
    const int32_t min_version = lowest_version(r);
    const uint8_t *prev_hash = r->context->prev_hash;
    uint32_t newest = r->max_seen, prev_time = last_time(r);
    size_t taken = 0;
    for (; taken < n; taken++) {
        const uint8_t *header = headers + HEADER * taken, *hash = hashes + 32 * taken;
        const u256 value = u256_get(hash);
        const uint32_t time = get32(header + TIME_AT);
        if (memcmp(header + PREV_HASH_AT, prev_hash, 32) != 0 || get32(header + BITS_AT) != bits ||
            u256_above(&value, &target) || time <= newest || (int64_t)time - prev_time > max_gap ||
            time > max_time || (int32_t)get32(header) < min_version) {
            break;
        }
        prev_hash = hash;
        prev_time = newest = time;
    }
    if (taken > 0) {
        advance_many(r, d, headers, hashes, taken);
    }
    return taken;
}

/* Back from a ring to oldest first. */
static void straighten(run *r) {
    uint32_t times[MEDIAN_TIME_SPAN];
    for (unsigned i = 0; i < MEDIAN_TIME_SPAN; i++) {
        times[i] = r->context->times[(r->oldest + i) % MEDIAN_TIME_SPAN];
    }
    memcpy(r->context->times, times, sizeof times);
}

run_reason chain_check_run(const chain_params *params, run_context *context, const uint8_t *headers, size_t n,
                           int64_t max_time, uint8_t *hashes) {
    run r = {.params = params, .context = context, .max_time = max_time};
    r.position = context->height % params->interval;
    for (int i = 0; i < context->n_times; i++) {
        r.max_seen = context->times[i] > r.max_seen ? context->times[i] : r.max_seen;
    }
    set_difficulty(&r.limit, params->pow_limit_bits, &params->pow_limit);
    set_difficulty(&r.real, context->prev_bits, &params->pow_limit);
    run_reason reason = RUN_GOOD;
    for (size_t at = 0; at < n && reason == RUN_GOOD; at += BLOCK) {
        const size_t count = n - at < BLOCK ? n - at : BLOCK;
        sha256_many(hashes + 32 * at, headers + HEADER * at, count, SHA256D_HEADER);
        for (size_t i = at; i < at + count && reason == RUN_GOOD; i++) {
            i += take_ordinary(&r, headers + HEADER * i, hashes + 32 * i, at + count - i);
            if (i < at + count) {
                reason = check_header(&r, headers + HEADER * i, hashes + 32 * i);
            }
        }
    }
    straighten(&r);
    return reason;
}
