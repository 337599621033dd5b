#include "gcs.h"

#include <string.h>

#include "bytes.h"
#include "siphash.h"

enum { P = GCS_REMAINDER_BITS };

/* The upper half of a product: x, taken as a fraction of 2^64, of y. */
static inline uint64_t scaled(uint64_t x, uint64_t y) {
#ifdef __SIZEOF_INT128__
    return (uint64_t)((unsigned __int128)x * y >> 64);
#else
    const uint64_t xl = (uint32_t)x, xh = x >> 32, yl = (uint32_t)y, yh = y >> 32;
    const uint64_t low = xl * yl, mid = xh * yl + (low >> 32), cross = xl * yh + (uint32_t)mid;
    return xh * yh + (mid >> 32) + (cross >> 32);
#endif
}

int64_t gcs_count_items(const uint8_t *items, size_t size) {
    int64_t n = 0;
    for (; size; n++) {
        if (size < 4 || size - 4 < get32(items)) {
            return -1;
        }
        const size_t step = 4 + (size_t)get32(items);
        items += step, size -= step;
    }
    return n;
}

size_t gcs_next_item(const uint8_t **items) {
    const size_t size = get32(*items);
    *items += 4;
    return size;
}

/* A position among the bits of a filter. The next bits wait in a register, so that loading more is off the path from
 * one value to the next. */
typedef struct {
    const uint8_t *data;
    size_t size;   /* bytes */
    size_t next;   /* byte that is loaded next; all of those before it are in the buffer or read */
    uint64_t buffer; /* highest bit first; what is below `count` is zero or what follows */
    unsigned count;  /* bits of the buffer that `next` has passed: 0 to 63 */
    int past;        /* read beyond the end */
} reader;

static inline size_t bits_read(const reader *r) { return 8 * r->next - r->count; }
static inline size_t bits_left(const reader *r) { return 8 * r->size - bits_read(r); }

static inline uint64_t get64_be(const uint8_t *p) {
    const uint64_t word = get64(p);
    return __builtin_bswap64(word);
}

/* The bits from `at` on, highest first: 57 at least, zeros past the end. */
static inline uint64_t window(const reader *r, size_t at) {
    uint64_t word = 0;
    for (size_t i = at >> 3, shift = 64; i < r->size && shift; i++) {
        shift -= 8;
        word |= (uint64_t)r->data[i] << shift;
    }
    return word << (at & 7);
}

static inline unsigned leading_ones(uint64_t word) { return ~word ? (unsigned)__builtin_clzll(~word) : 64; }

/* The next difference near the end of a filter, or with a quotient longer than a register: nobody's honest filter has
 * one, but a filter may. */
static inline uint64_t slow_difference(reader *r) {
    size_t at = bits_read(r);
    uint64_t quotient = 0;
    unsigned ones = leading_ones(window(r, at));
    for (; ones >= 56; ones = leading_ones(window(r, at))) { /* ends: past the end there are zeros */
        quotient += 56, at += 56;
    }
    at += ones + 1;
    const uint64_t remainder = window(r, at) >> (64 - P);
    at += P;
    r->past = at > 8 * r->size;
    r->next = r->past ? r->size : (at + 7) >> 3;
    r->count = r->past ? 0 : (unsigned)(8 * r->next - at);
    r->buffer = r->count ? (uint64_t)r->data[r->next - 1] << (64 - r->count) : 0;
    return (quotient + ones) << P | remainder;
}

/* The next difference; r->past afterwards when it was not there. */
static inline uint64_t next_difference(reader *r) {
    if (r->size - r->next >= 8) {
        r->buffer |= get64_be(r->data + r->next) >> r->count;
        r->next += (63 - r->count) >> 3;
        r->count |= 56;
        const unsigned ones = leading_ones(r->buffer);
        if (ones <= 56 - 1 - P) {
            const uint64_t word = r->buffer << (ones + 1);
            r->buffer = word << P;
            r->count -= ones + 1 + P;
            return (uint64_t)ones << P | word >> (64 - P);
        }
    }
    return slow_difference(r);
}

/* CompactSize in its only form; moves r. -1 when it is cut or not the shortest. */
static int64_t read_count(reader *r) {
    if (!r->size) {
        return -1;
    }
    const uint8_t first = r->data[0];
    const size_t more = first < 0xfd ? 0 : (size_t)2 << (first - 0xfd);
    if (r->size < 1 + more) {
        return -1;
    }
    uint64_t value = first;
    if (more) {
        value = 0;
        for (size_t i = 0; i < more; i++) {
            value |= (uint64_t)r->data[1 + i] << (8 * i);
        }
        const uint64_t least = first == 0xfd ? 0xfd : first == 0xfe ? 0x10000 : 0x100000000;
        if (value < least || value > UINT32_MAX) { /* N is below 2^32 */
            return -1;
        }
    }
    r->data += 1 + more, r->size -= 1 + more;
    return (int64_t)value;
}

/* Begins to read: the number of values, -1 when the filter cannot hold them. */
static int64_t begin(reader *r, const uint8_t *filter, size_t size) {
    *r = (reader){.data = filter, .size = size};
    const int64_t n = read_count(r);
    if (n < 0 || (uint64_t)n > 8 * r->size / (P + 1) || (n == 0 && r->size)) {
        return -1;
    }
    return n;
}

int64_t gcs_size(const uint8_t *filter, size_t size) {
    reader r;
    return begin(&r, filter, size);
}

int gcs_decode(const uint8_t *filter, size_t size, uint8_t *values) {
    reader r;
    uint64_t value = 0;
    for (int64_t left = begin(&r, filter, size); left; left--, values += 8) {
        if (left < 0) {
            return -1;
        }
        value += next_difference(&r);
        if (r.past) {
            return -1;
        }
        put64(values, value);
    }
    return bits_left(&r) < 8 ? 0 : -1;
}

void siphash_scaled(const uint8_t key[GCS_KEY_SIZE], const uint8_t *items, size_t n, uint64_t modulus, uint8_t *out) {
    for (; n; n--, out += 8) {
        const size_t size = gcs_next_item(&items);
        put64(out, scaled(siphash24(key, items, size), modulus));
        items += size;
    }
}

/* Workspace: hashes u64[n], sorted u64[n], starts u32[n + 1]; and what aligning takes. */
size_t gcs_workspace(size_t n) { return 8 * n + 8 * n + 4 * (n + 1) + 7; }

/* The items' values, ascending. Hashes are spread evenly (the key is a block's hash), so n buckets of their top bits
 * leave next to nothing to sort: what is left moves by a place or two. */
static const uint64_t *sorted_values(const uint8_t *key, const uint8_t *items, size_t n, uint64_t modulus,
                                     uint8_t *workspace) {
    uint64_t *hashes = (uint64_t *)(workspace + (-(uintptr_t)workspace & 7));
    uint64_t *sorted = hashes + n;
    uint32_t *starts = (uint32_t *)(sorted + n);
    memset(starts, 0, 4 * (n + 1));
    for (size_t i = 0; i < n; i++) {
        const size_t size = gcs_next_item(&items);
        hashes[i] = siphash24(key, items, size);
        items += size;
        starts[scaled(hashes[i], n) + 1]++;
    }
    for (size_t i = 1; i < n; i++) {
        starts[i] += starts[i - 1];
    }
    for (size_t i = 0; i < n; i++) {
        const size_t at = starts[scaled(hashes[i], n)]++;
        if (at < n) { /* always, unless another thread writes here too: then the answer is wrong, and no more */
            sorted[at] = scaled(hashes[i], modulus);
        }
    }
    for (size_t i = 1; i < n; i++) {
        const uint64_t value = sorted[i];
        size_t at = i;
        for (; at && sorted[at - 1] > value; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = value;
    }
    return sorted;
}

int gcs_match(const uint8_t *filter, size_t size, const uint8_t key[GCS_KEY_SIZE], const uint8_t *items, size_t n,
              uint8_t *workspace) {
    reader r;
    const int64_t held = begin(&r, filter, size);
    if (held < 0) {
        return GCS_MALFORMED;
    }
    if (!n || !held) {
        return GCS_ABSENT;
    }
    const uint64_t *wanted = sorted_values(key, items, n, (uint64_t)held * GCS_INVERSE_RATE, workspace);
    const uint64_t *const end = wanted + n;
    uint64_t value = 0;
    for (int64_t left = held; left; left--) {
        value += next_difference(&r);
        if (r.past) {
            return GCS_MALFORMED;
        }
        while (*wanted < value) {
            if (++wanted == end) {
                return GCS_ABSENT;
            }
        }
        if (*wanted == value) {
            return GCS_PRESENT;
        }
    }
    return bits_left(&r) < 8 ? GCS_ABSENT : GCS_MALFORMED;
}
