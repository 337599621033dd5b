#include "link.h"

#include <string.h>

#include "sha256.h"

void link_headers(uint8_t *headers, const uint8_t *bodies, size_t n, const uint8_t prev_hash[32]) {
    uint8_t hash[32];
    memcpy(hash, prev_hash, sizeof hash);
    for (size_t i = 0; i < n; i++) {
        uint8_t *header = headers + 80 * i;
        const uint8_t *body = bodies + LINK_BODY_SIZE * i;
        memcpy(header, body, 4); /* version */
        memcpy(header + 4, hash, 32);
        memcpy(header + 36, body + 4, 44); /* merkle root, time, bits, nonce */
        if (i + 1 < n)
            sha256_many(hash, header, 1, SHA256D_HEADER);
    }
}
