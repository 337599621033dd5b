/* SHA-256 on plain 32-bit operations, LANES messages side by side. Included once per width, after defining
 *   LANES     messages at once
 *   WORD      uint32_t, or a GCC vector of LANES of them: the same operators work on both
 *   TARGET    function attribute that lets the compiler use the instructions
 *   WORDS_FN  name of the sha256_fn to define
 *   TAIL_FN   sha256_fn for what is left over when n is no multiple of LANES
 *   TAIL_MAX  largest rest that goes to TAIL_FN; a larger one runs here with idle lanes, which is faster */
#include <string.h>

#include "sha256.h"

#define ROTR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
#define CH(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define MAJ(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))
#define SUM0(x) (ROTR(x, 2) ^ ROTR(x, 13) ^ ROTR(x, 22))
#define SUM1(x) (ROTR(x, 6) ^ ROTR(x, 11) ^ ROTR(x, 25))
#define SIGMA0(x) (ROTR(x, 7) ^ ROTR(x, 18) ^ ((x) >> 3))
#define SIGMA1(x) (ROTR(x, 17) ^ ROTR(x, 19) ^ ((x) >> 10))

/* One round; the caller renames the variables instead of moving them. */
#define ROUND(a, b, c, d, e, f, g, h, wk)                    \
    do {                                                     \
        WORD t_ = h + SUM1(e) + CH(e, f, g) + (wk);          \
        d += t_;                                             \
        h = t_ + SUM0(a) + MAJ(a, b, c);                     \
    } while (0)

#define EIGHT_ROUNDS(WK, i)                      \
    ROUND(a, b, c, d, e, f, g, h, WK((i)));      \
    ROUND(h, a, b, c, d, e, f, g, WK((i) + 1));  \
    ROUND(g, h, a, b, c, d, e, f, WK((i) + 2));  \
    ROUND(f, g, h, a, b, c, d, e, WK((i) + 3));  \
    ROUND(e, f, g, h, a, b, c, d, WK((i) + 4));  \
    ROUND(d, e, f, g, h, a, b, c, WK((i) + 5));  \
    ROUND(c, d, e, f, g, h, a, b, WK((i) + 6));  \
    ROUND(b, c, d, e, f, g, h, a, WK((i) + 7))

#define LOAD_STATE(s) \
    WORD a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7]
#define ADD_STATE(s) \
    s[0] += a, s[1] += b, s[2] += c, s[3] += d, s[4] += e, s[5] += f, s[6] += g, s[7] += h

/* Word i of the schedule, made in place in a ring of 16. */
#define FIRST(i) (w[(i)] + sha256_k[(i)])
#define NEXT(i)                                                                                          \
    ((w[(i) & 15] += SIGMA0(w[((i) + 1) & 15]) + w[((i) + 9) & 15] + SIGMA1(w[((i) + 14) & 15])) + \
     sha256_k[base + (i)])
#define FIXED(i) (sha256_pad64_wk[base + (i)] + (WORD){0})

TARGET static void compress(WORD s[8], WORD w[16]) {
    LOAD_STATE(s);
    EIGHT_ROUNDS(FIRST, 0);
    EIGHT_ROUNDS(FIRST, 8);
    for (int base = 16; base < 64; base += 16) {
        EIGHT_ROUNDS(NEXT, 0);
        EIGHT_ROUNDS(NEXT, 8);
    }
    ADD_STATE(s);
}

TARGET static void compress_pad64(WORD s[8]) {
    LOAD_STATE(s);
    for (int base = 0; base < 64; base += 8) {
        EIGHT_ROUNDS(FIXED, 0);
    }
    ADD_STATE(s);
}

typedef union {
    WORD word[16];
    uint32_t lane[16][LANES];
} block;

TARGET static void set_words(WORD *w, int from, int to, uint32_t value) {
    for (int i = from; i < to; i++) {
        w[i] = (WORD){0} + value;
    }
}

TARGET static void init_state(WORD s[8]) {
    for (int i = 0; i < 8; i++) {
        s[i] = (WORD){0} + sha256_init[i];
    }
}

/* `words` big-endian words of each message, the messages `size` bytes apart: word i of all goes to row i. */
TARGET static void load(block *w, const uint8_t *in, size_t size, int words) {
    for (int lane = 0; lane < LANES; lane++) {
        for (int i = 0; i < words; i++) {
            const uint8_t *p = in + (size_t)lane * size + 4 * i;
            w->lane[i][lane] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
    }
}

TARGET static void store(uint8_t *out, const block *s) {
    for (int lane = 0; lane < LANES; lane++) {
        for (int i = 0; i < 8; i++) {
            uint32_t x = s->lane[i][lane];
            uint8_t *p = out + 32 * lane + 4 * i;
            p[0] = (uint8_t)(x >> 24), p[1] = (uint8_t)(x >> 16), p[2] = (uint8_t)(x >> 8), p[3] = (uint8_t)x;
        }
    }
}

/* Padding after `bytes` bytes of message, of which `words` words are in this block. */
TARGET static void pad(WORD w[16], int words, uint32_t bytes) {
    set_words(w, words, words + 1, 0x80000000);
    set_words(w, words + 1, 15, 0);
    set_words(w, 15, 16, bytes * 8);
}

TARGET static void hash_lanes(uint8_t *out, const uint8_t *in, sha256_job job) {
    const size_t size = sha256_job_size(job);
    block s, w;
    init_state(s.word);
    load(&w, in, size, 16);
    compress(s.word, w.word);
    if (job == SHA256D_HEADER) {
        load(&w, in + 64, size, 4);
        pad(w.word, 4, 80);
        compress(s.word, w.word);
    } else {
        compress_pad64(s.word);
    }
    if (job != SHA256_PAIR) {
        memcpy(w.word, s.word, 8 * sizeof(WORD));
        pad(w.word, 8, 32);
        init_state(s.word);
        compress(s.word, w.word);
    }
    store(out, &s);
}

TARGET void WORDS_FN(uint8_t *out, const uint8_t *in, size_t n, sha256_job job) {
    const size_t size = sha256_job_size(job);
    for (; n >= LANES; n -= LANES, in += LANES * size, out += LANES * 32) {
        hash_lanes(out, in, job);
    }
#if LANES > 1
    if (n > TAIL_MAX) {
        uint8_t messages[LANES * 80] = {0}, digests[LANES * 32];
        memcpy(messages, in, n * size);
        hash_lanes(digests, messages, job);
        memcpy(out, digests, n * 32);
    } else if (n > 0) {
        TAIL_FN(out, in, n, job);
    }
#endif
}
