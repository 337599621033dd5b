/* Padding after a message (FIPS 180-4, 5.1.1), as vectors: the end mark, and the length in bits in the last word. */
static const uint32_t quad_end_mark[4] __attribute__((aligned(16))) = {0x80000000, 0, 0, 0};
static const uint32_t quad_zero[4] __attribute__((aligned(16))) = {0, 0, 0, 0};
static const uint32_t quad_80_bytes[4] __attribute__((aligned(16))) = {0, 0, 0, 640};
static const uint32_t quad_32_bytes[4] __attribute__((aligned(16))) = {0, 0, 0, 256};
