cdef extern from "c/gcs.h" nogil:
    enum:
        GCS_KEY_SIZE
        GCS_MALFORMED
        GCS_PRESENT
    int64_t gcs_count_items(const uint8_t *items, size_t size)
    size_t gcs_next_item(const uint8_t **items)
    size_t gcs_workspace_c "gcs_workspace"(size_t n)
    int gcs_match_c "gcs_match"(const uint8_t *filter, size_t size, const uint8_t *key, const uint8_t *items, size_t n,
                                uint8_t *workspace)
    int64_t gcs_size(const uint8_t *filter, size_t size)
    int gcs_decode_c "gcs_decode"(const uint8_t *filter, size_t size, uint8_t *values)
    void siphash_scaled_c "siphash_scaled"(const uint8_t *key, const uint8_t *items, size_t n, uint64_t modulus,
                                           uint8_t *out)

# Filters of a call and items looked for: less than this is done in 50 us (see GIL_HASHES).
cdef enum:
    GIL_FILTER_BYTES = 16000
    GIL_ITEMS = 1000


cdef int64_t count_items(const Py_buffer *items, str what) except -1:
    cdef int64_t n = gcs_count_items(<const uint8_t *>items.buf, items.len)
    if n < 0:
        raise ValueError(f"{what}: {items.len} bytes are not items with their sizes")
    return n


cdef int check_match(const Py_buffer *views, int64_t filters, int64_t items) except -1:
    """`views`: filters, keys, items, workspace, out."""
    if views[1].len != filters * GCS_KEY_SIZE:
        raise ValueError(f"keys: {views[1].len} bytes, {filters} filters need {filters * GCS_KEY_SIZE}")
    if <size_t>views[3].len < gcs_workspace_c(items):
        raise ValueError(f"workspace: {views[3].len} bytes, {items} items need {gcs_workspace_c(items)}")
    if views[4].len < filters:
        raise ValueError(f"out: {views[4].len} bytes, {filters} filters need as many")
    return 0


cdef int64_t match_filters(const Py_buffer *views, int64_t n, int64_t items) noexcept nogil:
    cdef const uint8_t *at = <const uint8_t *>views[0].buf
    cdef const uint8_t *key = <const uint8_t *>views[1].buf
    cdef uint8_t *out = <uint8_t *>views[4].buf
    cdef int64_t found = 0, i
    cdef size_t size
    for i in range(n):
        size = gcs_next_item(&at)
        out[i] = <uint8_t>gcs_match_c(at, size, key + i * GCS_KEY_SIZE, <const uint8_t *>views[2].buf, items,
                                      <uint8_t *>views[3].buf)
        found += out[i] == GCS_PRESENT
        at += size
    return found


cdef int64_t run_match(const Py_buffer *views) except -1:
    cdef int64_t n = count_items(&views[0], "filters"), items = count_items(&views[2], "items"), found
    check_match(views, n, items)
    if views[0].len < GIL_FILTER_BYTES and items * n < GIL_ITEMS:
        return match_filters(views, n, items)
    with nogil:
        found = match_filters(views, n, items)
    return found


def gcs_workspace(size_t items):
    return gcs_workspace_c(items)


# Sizes inside the data say where it ends, so it must not change under a call: bytes only.
def gcs_match(bytes filters not None, keys, bytes items not None, workspace, out):
    cdef Py_buffer views[5]
    cdef int taken = 0
    try:
        PyObject_GetBuffer(filters, &views[0], PyBUF_SIMPLE)
        taken = 1
        PyObject_GetBuffer(keys, &views[1], PyBUF_SIMPLE)
        taken = 2
        PyObject_GetBuffer(items, &views[2], PyBUF_SIMPLE)
        taken = 3
        PyObject_GetBuffer(workspace, &views[3], PyBUF_WRITABLE)
        taken = 4
        PyObject_GetBuffer(out, &views[4], PyBUF_WRITABLE)
        taken = 5
        return run_match(views)
    finally:
        while taken > 0:
            taken -= 1
            PyBuffer_Release(&views[taken])


def gcs_decode(bytes filter not None):
    cdef Py_buffer view
    cdef int64_t n
    cdef bytes values
    PyObject_GetBuffer(filter, &view, PyBUF_SIMPLE)
    try:
        n = gcs_size(<const uint8_t *>view.buf, view.len)
        if n < 0:
            return None
        values = PyBytes_FromStringAndSize(NULL, n * 8)
        if gcs_decode_c(<const uint8_t *>view.buf, view.len, <uint8_t *>PyBytes_AS_STRING(values)) != 0:
            return None
        return values
    finally:
        PyBuffer_Release(&view)


cdef bytes scale_items(const Py_buffer *key, const Py_buffer *items, uint64_t modulus):
    cdef int64_t n = count_items(items, "items")
    cdef bytes out
    cdef uint8_t *start
    if key.len != GCS_KEY_SIZE:
        raise ValueError(f"key: {key.len} bytes, not {GCS_KEY_SIZE}")
    out = PyBytes_FromStringAndSize(NULL, n * 8)
    start = <uint8_t *>PyBytes_AS_STRING(out)
    if n < GIL_ITEMS:
        siphash_scaled_c(<const uint8_t *>key.buf, <const uint8_t *>items.buf, n, modulus, start)
    else:
        with nogil:
            siphash_scaled_c(<const uint8_t *>key.buf, <const uint8_t *>items.buf, n, modulus, start)
    return out


def siphash_scaled(key, bytes items not None, uint64_t modulus):
    cdef Py_buffer key_view, view
    PyObject_GetBuffer(key, &key_view, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(items, &view, PyBUF_SIMPLE)
        try:
            return scale_items(&key_view, &view, modulus)
        finally:
            PyBuffer_Release(&view)
    finally:
        PyBuffer_Release(&key_view)
