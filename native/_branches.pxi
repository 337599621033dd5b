cdef extern from "c/branches.h" nogil:
    enum:
        MAX_BRANCH_LEAVES_C "MAX_BRANCH_LEAVES"
        MAX_BRANCH_DEPTH_C "MAX_BRANCH_DEPTH"
    int branches_verify(const uint8_t *leaves, const uint8_t *siblings, const uint8_t *indices, int n, int depth,
                        const uint8_t *root, sha256_job pair)

MAX_BRANCH_LEAVES = MAX_BRANCH_LEAVES_C
MAX_BRANCH_DEPTH = MAX_BRANCH_DEPTH_C


cdef int check_branches(const Py_buffer *leaves, const Py_buffer *siblings, const Py_buffer *indices, int depth,
                        const Py_buffer *root) except -1:
    cdef Py_ssize_t n = leaves.len // 32
    if leaves.len % 32 or n > MAX_BRANCH_LEAVES_C:
        raise ValueError(f"leaves: {leaves.len} bytes are not 0 to {MAX_BRANCH_LEAVES} times 32")
    if not 0 <= depth <= MAX_BRANCH_DEPTH_C:
        raise ValueError(f"depth: {depth} is not 0 to {MAX_BRANCH_DEPTH}")
    if siblings.len != n * depth * 32:
        raise ValueError(f"siblings: {siblings.len} bytes, {n} leaves of depth {depth} need {n * depth * 32}")
    if indices.len != n * 4:
        raise ValueError(f"indices: {indices.len} bytes, {n} leaves need {n * 4}")
    if root.len != 32:
        raise ValueError(f"root: {root.len} bytes, not 32")
    return 0


cdef int run_branches(const Py_buffer *views, int depth, sha256_job job) except -2:
    """`views`: leaves, siblings, indices, root; checked."""
    cdef int n = <int>(views[0].len // 32), result
    if n * depth < GIL_HASHES:
        return branches_verify(<const uint8_t *>views[0].buf, <const uint8_t *>views[1].buf,
                               <const uint8_t *>views[2].buf, n, depth, <const uint8_t *>views[3].buf, job)
    with nogil:
        result = branches_verify(<const uint8_t *>views[0].buf, <const uint8_t *>views[1].buf,
                                 <const uint8_t *>views[2].buf, n, depth, <const uint8_t *>views[3].buf, job)
    return result


def verify_branches(leaves, siblings, indices, int depth, root, bint double):
    cdef Py_buffer views[4]
    cdef int taken = 0
    try:
        PyObject_GetBuffer(leaves, &views[0], PyBUF_SIMPLE)
        taken = 1
        PyObject_GetBuffer(siblings, &views[1], PyBUF_SIMPLE)
        taken = 2
        PyObject_GetBuffer(indices, &views[2], PyBUF_SIMPLE)
        taken = 3
        PyObject_GetBuffer(root, &views[3], PyBUF_SIMPLE)
        taken = 4
        check_branches(&views[0], &views[1], &views[2], depth, &views[3])
        return run_branches(views, depth, SHA256D_PAIR if double else SHA256_PAIR)
    finally:
        while taken > 0:
            taken -= 1
            PyBuffer_Release(&views[taken])
