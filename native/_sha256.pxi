cdef extern from "c/sha256.h" nogil:
    ctypedef enum sha256_job:
        SHA256D_HEADER
        SHA256D_PAIR
        SHA256_PAIR
    void sha256_many(uint8_t *out, const uint8_t *data, size_t n, sha256_job job)
    const char *sha256_runnable(size_t position)
    const char *sha256_selected()
    int sha256_select(const char *name)
    size_t sha256_job_size(sha256_job job)

# Less than this is done in 50 us; a busy interpreter may take 5 ms to give the lock back.
cdef enum:
    GIL_HASHES = 1000
RELEASE_GIL_FROM_HASHES = GIL_HASHES


def implementations():
    names = []
    cdef const char *name = sha256_runnable(0)
    while name != NULL:
        names.append(name.decode())
        name = sha256_runnable(len(names))
    return tuple(names)


def implementation():
    return sha256_selected().decode()


def select(str name not None):
    if sha256_select(name.encode()) != 0:
        raise ValueError(f"{name!r} is none of the SHA-256 implementations that run on this CPU: "
                         + ", ".join(implementations()))


cdef int hash_many(uint8_t *out, const Py_buffer *data, sha256_job job) except -1:
    """Hashes the whole of `data`; `out` has room for all of it."""
    cdef size_t n = <size_t>data.len // sha256_job_size(job)
    if n < GIL_HASHES:
        sha256_many(out, <const uint8_t *>data.buf, n, job)
    else:
        with nogil:
            sha256_many(out, <const uint8_t *>data.buf, n, job)
    return 0


cdef int check_whole(const Py_buffer *data, size_t size, str what) except -1:
    if <size_t>data.len % size:
        raise ValueError(f"{what}: {data.len} bytes are no multiple of {size}")
    return 0


cdef bytes hash_to_bytes(object data, sha256_job job, str what):
    cdef Py_buffer view
    cdef bytes out
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        check_whole(&view, sha256_job_size(job), what)
        out = PyBytes_FromStringAndSize(NULL, view.len // <Py_ssize_t>sha256_job_size(job) * 32)
        hash_many(<uint8_t *>PyBytes_AS_STRING(out), &view, job)
        return out
    finally:
        PyBuffer_Release(&view)


def sha256d_headers(headers):
    return hash_to_bytes(headers, SHA256D_HEADER, "headers")


def sha256d_pairs(nodes):
    return hash_to_bytes(nodes, SHA256D_PAIR, "nodes")


def sha256_pairs(nodes):
    return hash_to_bytes(nodes, SHA256_PAIR, "nodes")


def sha256d_headers_into(headers, out):
    cdef Py_buffer view, target
    PyObject_GetBuffer(headers, &view, PyBUF_SIMPLE)
    try:
        check_whole(&view, 80, "headers")
        PyObject_GetBuffer(out, &target, PyBUF_WRITABLE)
        try:
            if target.len < view.len // 80 * 32:
                raise ValueError(f"out: {target.len} bytes, {view.len // 80} hashes need {view.len // 80 * 32}")
            hash_many(<uint8_t *>target.buf, &view, SHA256D_HEADER)
        finally:
            PyBuffer_Release(&target)
    finally:
        PyBuffer_Release(&view)
