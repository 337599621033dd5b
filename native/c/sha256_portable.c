/* SHA-256 in plain C: any CPU, one message at a time. */
#include "sha256.h"

#define LANES 1
#define WORD uint32_t
#define TARGET
#define WORDS_FN sha256_portable
#include "sha256_words.h"
