cdef extern from "c/link.h" nogil:
    enum:
        LINK_BODY_SIZE
    void link_headers_c "link_headers"(uint8_t *headers, const uint8_t *bodies, size_t n, const uint8_t *prev_hash)


cdef bytes linked(const Py_buffer *bodies, const Py_buffer *prev_hash):
    cdef size_t n = <size_t>bodies.len // LINK_BODY_SIZE
    cdef bytes out
    cdef uint8_t *start
    check_whole(bodies, LINK_BODY_SIZE, "bodies")
    if prev_hash.len != 32:
        raise ValueError(f"prev_hash: {prev_hash.len} bytes, not 32")
    out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n * 80)
    start = <uint8_t *>PyBytes_AS_STRING(out)
    if n < GIL_HASHES:
        link_headers_c(start, <const uint8_t *>bodies.buf, n, <const uint8_t *>prev_hash.buf)
    else:
        with nogil:
            link_headers_c(start, <const uint8_t *>bodies.buf, n, <const uint8_t *>prev_hash.buf)
    return out


def link_headers(bodies, prev_hash):
    cdef Py_buffer view, parent
    PyObject_GetBuffer(bodies, &view, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(prev_hash, &parent, PyBUF_SIMPLE)
        try:
            return linked(&view, &parent)
        finally:
            PyBuffer_Release(&parent)
    finally:
        PyBuffer_Release(&view)
