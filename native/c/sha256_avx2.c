/* SHA-256, eight messages in 256-bit registers: x86-64 CPUs that have AVX2 and no SHA instructions. */
#include "sha256.h"

#ifdef SHA256_HAVE_X86

typedef uint32_t word8 __attribute__((vector_size(32)));

#define LANES 8
#define WORD word8
#define TARGET __attribute__((target("avx2")))
#define WORDS_FN sha256_avx2
#define TAIL_FN sha256_portable
#define TAIL_MAX 1
#include "sha256_words.h"

#endif
