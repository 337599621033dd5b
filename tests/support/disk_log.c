/* Preloaded into a process (LD_PRELOAD), records what it does to the files under one folder, in order:
 * creations, writes with their bytes, syncs, renames, removals. From that, a test can make the disk as it would be
 * after a power cut at any moment. Also fails a sync on demand, or slows those of tables.
 *
 * DISK_LOG: the file to write to. DISK_LOG_UNDER: only paths that begin with this count.
 * A record: one byte of kind, two lengths (4 bytes each, native), then so many bytes of each.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_FD 1024
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char paths[MAX_FD][512];
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;
static int fail_syncs = 0;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("DISK_LOG");
    if (name) out = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int counts(const char *path) {
    const char *under = getenv("DISK_LOG_UNDER");
    return out >= 0 && under && strncmp(path, under, strlen(under)) == 0;
}

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size) {
        long done = syscall(SYS_write, out, at, size);
        if (done <= 0) abort();
        at += done;
        size -= (size_t)done;
    }
}

static void record(char kind, const char *path, const void *data, size_t size) {
    uint32_t lengths[2] = {(uint32_t)strlen(path), (uint32_t)size};
    put(&kind, 1);
    put(lengths, sizeof lengths);
    put(path, lengths[0]);
    put(data, size);
}

static const char *path_of(int fd) {
    return fd >= 0 && fd < MAX_FD && paths[fd][0] ? paths[fd] : NULL;
}

/* Makes the next `count` syncs fail with EIO, after the data was written. */
void disk_fail_syncs(int count) { fail_syncs = count; }

/* A remark of the test itself, such as "this is acknowledged now". */
void disk_note(const char *text) {
    pthread_mutex_lock(&order);
    if (out >= 0) record('n', text, "", 0);
    pthread_mutex_unlock(&order);
}

static int opened(int fd, const char *path, int flags) {
    if (fd >= 0 && fd < MAX_FD) {
        paths[fd][0] = 0;
        if (counts(path)) {
            snprintf(paths[fd], sizeof paths[fd], "%s", path);
            if (flags & (O_CREAT | O_TRUNC)) record(flags & O_TRUNC ? 't' : 'c', path, "", 0);
        }
    }
    return fd;
}

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        va_list more;                                           \
        va_start(more, flags);                                  \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; \
        va_end(more);                                           \
        pthread_mutex_lock(&order);                             \
        int fd = opened(REAL(name)(path, flags, mode), path, flags); \
        pthread_mutex_unlock(&order);                           \
        return fd;                                              \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    pthread_mutex_lock(&order);
    if (fd >= 0 && fd < MAX_FD) paths[fd][0] = 0;
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&order);
    return result;
}

ssize_t write(int fd, const void *data, size_t size) {
    if (!path_of(fd)) return REAL(write)(fd, data, size);
    pthread_mutex_lock(&order);
    ssize_t done = REAL(write)(fd, data, size);
    if (done > 0) record('w', path_of(fd), data, (size_t)done);
    pthread_mutex_unlock(&order);
    return done;
}

/* Recorded when it has returned: only then may anybody rely on it. */
static int synced(int fd, int result) {
    if (!path_of(fd)) return result;
    pthread_mutex_lock(&order);
    if (result == 0 && fail_syncs > 0) {
        fail_syncs--;
        errno = EIO;
        result = -1;
    }
    if (result == 0) record('s', path_of(fd), "", 0);
    pthread_mutex_unlock(&order);
    return result;
}

/* A busy disk: the syncs of tables take so many microseconds more, so that much happens before they are done. */
static void dawdle(int fd) {
    const char *more = getenv("DISK_SLOW_TABLES");
    if (more && path_of(fd) && strstr(path_of(fd), ".ldb")) usleep((useconds_t)atoi(more));
}

int fsync(int fd) {
    dawdle(fd);
    return synced(fd, REAL(fsync)(fd));
}

int fdatasync(int fd) {
    dawdle(fd);
    return synced(fd, REAL(fdatasync)(fd));
}

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&order);
    int result = REAL(rename)(from, to);
    if (result == 0 && counts(from)) record('r', from, to, strlen(to));
    pthread_mutex_unlock(&order);
    return result;
}

int unlink(const char *path) {
    pthread_mutex_lock(&order);
    int result = REAL(unlink)(path);
    if (result == 0 && counts(path)) record('u', path, "", 0);
    pthread_mutex_unlock(&order);
    return result;
}
