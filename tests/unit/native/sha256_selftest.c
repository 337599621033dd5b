/* Every SHA-256 path of the CPU that this runs on, against known answers and against the portable one. Exit code 0 when
 * all is well; with an argument, also only when a path of that name ran. For CPUs that the Python tests do not reach:
 * see arm_selftest.sh. */
#include <stdio.h>
#include <string.h>

#include "sha256.h"

enum { MOST = 41 };

static const uint8_t genesis_tail[] = {
    0x3b, 0xa3, 0xed, 0xfd, 0x7a, 0x7b, 0x12, 0xb2, 0x7a, 0xc7, 0x2c, 0x3e, 0x67, 0x76, 0x8f,
    0x61, 0x7f, 0xc8, 0x1b, 0xc3, 0x88, 0x8a, 0x51, 0x32, 0x3a, 0x9f, 0xb8, 0xaa, 0x4b, 0x1e,
    0x5e, 0x4a, 0x29, 0xab, 0x5f, 0x49, 0xff, 0xff, 0x00, 0x1d, 0x1d, 0xac, 0x2b, 0x7c,
};
static const uint8_t genesis_hash[32] = {
    0x6f, 0xe2, 0x8c, 0x0a, 0xb6, 0xf1, 0xb3, 0x72, 0xc1, 0xa6, 0xa2, 0x46, 0xae, 0x63, 0xf7, 0x4f,
    0x93, 0x1e, 0x83, 0x65, 0xe1, 0x5a, 0x08, 0x9c, 0x68, 0xd6, 0x19, 0x00, 0x00, 0x00, 0x00, 0x00,
};
static const uint8_t zero_pair_hash[32] = {
    /* SHA-256 of 64 zero bytes */
    0xf5, 0xa5, 0xfd, 0x42, 0xd1, 0x6a, 0x20, 0x30, 0x27, 0x98, 0xef, 0x6e, 0xd3, 0x09, 0x97, 0x9b,
    0x43, 0x00, 0x3d, 0x23, 0x20, 0xd9, 0xf0, 0xe8, 0xea, 0x98, 0x31, 0xa9, 0x27, 0x59, 0xfb, 0x4b,
};

static int known_answers(void) {
    uint8_t header[80] = {1}, pair[64] = {0}, hash[32];
    memcpy(header + 36, genesis_tail, sizeof genesis_tail);
    sha256_many(hash, header, 1, SHA256D_HEADER);
    if (memcmp(hash, genesis_hash, 32) != 0) {
        return 0;
    }
    sha256_many(hash, pair, 1, SHA256_PAIR);
    return memcmp(hash, zero_pair_hash, 32) == 0;
}

/* Every count up to MOST, at an odd address, and nothing written past the end. */
static int same_as_portable(const char *name, sha256_job job) {
    static uint8_t messages[MOST * 80 + 1], expected[MOST * 32 + 1], got[MOST * 32 + 1];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof messages; i++) {
        random = random * 1664525 + 1013904223;
        messages[i] = (uint8_t)(random >> 24);
    }
    for (size_t n = 0; n <= MOST; n++) {
        memset(expected, 0xAA, sizeof expected);
        memset(got, 0xAA, sizeof got);
        sha256_select("portable");
        sha256_many(expected, messages + 1, n, job);
        sha256_select(name);
        sha256_many(got, messages + 1, n, job);
        if (memcmp(expected, got, sizeof got) != 0) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    int wanted = argc < 2;
    for (size_t i = 0; sha256_runnable(i); i++) {
        const char *name = sha256_runnable(i);
        const int good = sha256_select(name) == 0 && known_answers() && same_as_portable(name, SHA256D_HEADER) &&
                         same_as_portable(name, SHA256D_PAIR) && same_as_portable(name, SHA256_PAIR);
        printf("%s %s\n", name, good ? "ok" : "WRONG");
        if (!good) {
            return 1;
        }
        wanted |= argc > 1 && strcmp(name, argv[1]) == 0;
    }
    return wanted ? 0 : 2;
}
