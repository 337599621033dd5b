cdef extern from "c/hashindex.h" nogil:
    ctypedef struct hashindex:
        size_t count
    uint32_t HASHINDEX_NONE
    int hashindex_init(hashindex *index, uint64_t seed)
    int hashindex_append(hashindex *index, const uint8_t *hashes, size_t n)
    void hashindex_free(hashindex *index)
    void hashindex_truncate(hashindex *index, size_t count)
    uint32_t hashindex_next(const hashindex *index, const uint8_t *digest, size_t *cursor)
    size_t hashindex_bytes(const hashindex *index)


@cython.final
cdef class HashIndex:
    # The GIL is held throughout: calls are short, and it is what makes the object safe to share.
    cdef hashindex index
    cdef readonly uint32_t base_height

    def __cinit__(self, uint32_t base_height=0):
        self.base_height = base_height
        if hashindex_init(&self.index, int.from_bytes(os.urandom(8), "little")) != 0:
            raise MemoryError

    def __dealloc__(self):
        hashindex_free(&self.index)

    @property
    def tip(self):
        return <int64_t>self.base_height + <int64_t>self.index.count - 1

    @property
    def nbytes(self):
        return hashindex_bytes(&self.index)

    def append(self, hashes):
        cdef Py_buffer view
        PyObject_GetBuffer(hashes, &view, PyBUF_SIMPLE)
        try:
            check_whole(&view, 32, "hashes")
            if hashindex_append(&self.index, <const uint8_t *>view.buf, <size_t>view.len // 32) != 0:
                raise MemoryError
        finally:
            PyBuffer_Release(&view)

    def truncate(self, int64_t height):
        if not <int64_t>self.base_height - 1 <= height:
            raise ValueError(f"height: {height} is below {self.base_height - 1}")
        hashindex_truncate(&self.index, <uint64_t>height - self.base_height + 1)  # unsigned: no height overflows it

    def candidates(self, hash32):
        cdef Py_buffer view
        cdef size_t cursor = 0
        cdef uint32_t position
        cdef tuple found = ()
        PyObject_GetBuffer(hash32, &view, PyBUF_SIMPLE)
        try:
            if view.len != 32:
                raise ValueError(f"hash32: {view.len} bytes, not 32")
            position = hashindex_next(&self.index, <const uint8_t *>view.buf, &cursor)
            while position != HASHINDEX_NONE:
                found += (<int64_t>self.base_height + position,)
                position = hashindex_next(&self.index, <const uint8_t *>view.buf, &cursor)
            return found
        finally:
            PyBuffer_Release(&view)
