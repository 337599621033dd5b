/* SHA-256 on instructions that do rounds on four words at a time (SHA-NI, ARMv8), LANES messages interleaved: while
 * one waits for its round, the others use the unit. Included once per lane count, after defining
 *   LANES, TARGET (function attribute), QUADS(name) (gives each inclusion its own names), QUADS_FN (the sha256_fn to
 *   define), TAIL_FN (a sha256_fn with fewer lanes, for the rest; not needed when LANES is 1)
 * and once per instruction set
 *   quad                      vector of four 32-bit words
 *   QUAD_LOAD(p)              four words from aligned memory
 *   QUAD_LOAD_BE(p)           four big-endian words from anywhere, QUAD_STORE_BE(p, q) the other way
 *   QUAD_ADD(a, b)
 *   QUAD_ROUNDS01(s0, s1, wk) two rounds on the state, in place, with words 0 and 1 of wk
 *   QUAD_ROUNDS23(s0, s1, wk) the two after it; empty where the instruction set does all four in one
 *   QUAD_SCHEDULE0(a, b)      first half of the next four schedule words, from words 0-3 and 4-7 of the last sixteen
 *   QUAD_SCHEDULE1(x, c, d)   the whole, from that half and words 8-11 and 12-15
 *   QUAD_INIT0, QUAD_INIT1    the initial state as the instructions want it
 *   QUAD_WORDS0(s0, s1), QUAD_WORDS1(s0, s1)   state words 0-3 and 4-7 in their order */

#define UNROLL_LANES _Pragma("GCC unroll 4") for (int l = 0; l < LANES; l++)

/* One block of each lane, out of line to keep the code small. The schedule runs as early as its words are there, and
 * its halves sit between the rounds of other lanes: nothing then waits for it. `g` counts quads of rounds; m[g & 3] are
 * the words that quad g uses. */
TARGET static __attribute__((noinline)) void QUADS(compress)(quad s[2][LANES], quad w[4][LANES]) {
    quad s0[LANES], s1[LANES], m[4][LANES];
    UNROLL_LANES {
        s0[l] = s[0][l], s1[l] = s[1][l];
        m[0][l] = w[0][l], m[1][l] = w[1][l], m[2][l] = w[2][l], m[3][l] = w[3][l];
    }
    _Pragma("GCC unroll 16") for (int g = 0; g < 16; g++) {
        const quad k = QUAD_LOAD(sha256_k + 4 * g);
        const int next = (g + 1) & 3, now = g & 3, before = (g + 3) & 3;
        UNROLL_LANES {
            const quad wk = QUAD_ADD(m[now][l], k);
            QUAD_ROUNDS01(s0[l], s1[l], wk);
            if (g >= 3 && g < 15) {
                m[next][l] = QUAD_SCHEDULE1(m[next][l], m[before][l], m[now][l]);
            }
            QUAD_ROUNDS23(s0[l], s1[l], wk);
            if (g >= 1 && g < 13) {
                m[before][l] = QUAD_SCHEDULE0(m[before][l], m[now][l]);
            }
        }
    }
    UNROLL_LANES {
        s[0][l] = QUAD_ADD(s[0][l], s0[l]);
        s[1][l] = QUAD_ADD(s[1][l], s1[l]);
    }
}

/* The padding block after 64 bytes: no schedule, and each constant is loaded once for all lanes. */
TARGET static __attribute__((noinline)) void QUADS(compress_pad64)(quad s[2][LANES]) {
    quad s0[LANES], s1[LANES];
    UNROLL_LANES { s0[l] = s[0][l], s1[l] = s[1][l]; }
    _Pragma("GCC unroll 16") for (int g = 0; g < 16; g++) {
        const quad wk = QUAD_LOAD(sha256_pad64_wk + 4 * g);
        UNROLL_LANES { QUAD_ROUNDS01(s0[l], s1[l], wk); }
        UNROLL_LANES { QUAD_ROUNDS23(s0[l], s1[l], wk); }
    }
    UNROLL_LANES {
        s[0][l] = QUAD_ADD(s[0][l], s0[l]);
        s[1][l] = QUAD_ADD(s[1][l], s1[l]);
    }
}

/* Two groups of lanes take turns, block by block: while the last rounds of one drain, the other's first ones start. */
#define GROUPS 2
#define EACH_GROUP for (int i = 0; i < groups; i++)

typedef struct {
    quad s[2][LANES], w[4][LANES];
} QUADS(group);

TARGET static inline void QUADS(load)(quad w[4][LANES], const uint8_t *in, size_t size) {
    UNROLL_LANES {
        for (int q = 0; q < 4; q++) {
            w[q][l] = QUAD_LOAD_BE(in + (size_t)l * size + 16 * q);
        }
    }
}

/* The last 16 bytes of a header and its padding. */
TARGET static inline void QUADS(load_end)(quad w[4][LANES], const uint8_t *in) {
    UNROLL_LANES {
        w[0][l] = QUAD_LOAD_BE(in + l * 80 + 64);
        w[1][l] = QUAD_LOAD(quad_end_mark), w[2][l] = QUAD_LOAD(quad_zero), w[3][l] = QUAD_LOAD(quad_80_bytes);
    }
}

/* The digest so far and its padding become the next message. */
TARGET static inline void QUADS(load_digest)(quad w[4][LANES], quad s[2][LANES]) {
    UNROLL_LANES {
        w[0][l] = QUAD_WORDS0(s[0][l], s[1][l]), w[1][l] = QUAD_WORDS1(s[0][l], s[1][l]);
        w[2][l] = QUAD_LOAD(quad_end_mark), w[3][l] = QUAD_LOAD(quad_32_bytes);
    }
}

TARGET static inline void QUADS(start)(quad s[2][LANES]) {
    UNROLL_LANES { s[0][l] = QUAD_INIT0, s[1][l] = QUAD_INIT1; }
}

TARGET static inline void QUADS(store)(uint8_t *out, quad s[2][LANES]) {
    UNROLL_LANES {
        QUAD_STORE_BE(out + 32 * l, QUAD_WORDS0(s[0][l], s[1][l]));
        QUAD_STORE_BE(out + 32 * l + 16, QUAD_WORDS1(s[0][l], s[1][l]));
    }
}

TARGET static void QUADS(hash_groups)(uint8_t *out, const uint8_t *in, sha256_job job, int groups) {
    const size_t size = sha256_job_size(job);
    QUADS(group) t[GROUPS];
    EACH_GROUP {
        QUADS(start)(t[i].s);
        QUADS(load)(t[i].w, in + (size_t)i * LANES * size, size);
        QUADS(compress)(t[i].s, t[i].w);
    }
    EACH_GROUP {
        if (job == SHA256D_HEADER) {
            QUADS(load_end)(t[i].w, in + i * LANES * 80);
            QUADS(compress)(t[i].s, t[i].w);
        } else {
            QUADS(compress_pad64)(t[i].s);
        }
    }
    EACH_GROUP {
        if (job != SHA256_PAIR) {
            QUADS(load_digest)(t[i].w, t[i].s);
            QUADS(start)(t[i].s);
            QUADS(compress)(t[i].s, t[i].w);
        }
    }
    EACH_GROUP { QUADS(store)(out + 32 * i * LANES, t[i].s); }
}

TARGET void QUADS_FN(uint8_t *out, const uint8_t *in, size_t n, sha256_job job) {
    const size_t size = sha256_job_size(job);
    while (n >= LANES) {
        const int groups = n >= GROUPS * LANES ? GROUPS : 1;
        const size_t taken = (size_t)groups * LANES;
        QUADS(hash_groups)(out, in, job, groups);
        n -= taken, in += taken * size, out += taken * 32;
    }
#if LANES > 1
    TAIL_FN(out, in, n, job);
#endif
}

#undef EACH_GROUP
#undef GROUPS
#undef UNROLL_LANES
#undef LANES
#undef TARGET
#undef QUADS
#undef QUADS_FN
#undef TAIL_FN
