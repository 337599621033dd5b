/* Preloaded by bench_kernels.py: counts what the process takes from the heap. glibc only. */
#include <stddef.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static long taken;

long malloc_count(void) { return taken; }

void *malloc(size_t size) {
    taken++;
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size) {
    taken++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size) {
    taken++;
    return __libc_realloc(p, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    taken++;
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **p, size_t alignment, size_t size) {
    taken++;
    *p = __libc_memalign(alignment, size);
    return *p ? 0 : 12; /* ENOMEM */
}
