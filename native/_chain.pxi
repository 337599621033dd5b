cdef extern from "c/chain.h" nogil:
    enum:
        PARAMS_SIZE
        CONTEXT_SIZE
    ctypedef struct chain_params:
        pass
    ctypedef struct run_context:
        uint32_t height
    ctypedef int run_reason
    int chain_params_unpack(chain_params *params, const uint8_t *packed)
    int run_context_unpack(run_context *context, const uint8_t *packed)
    void run_context_pack(const run_context *context, uint8_t *packed)
    run_reason chain_check_run(const chain_params *params, run_context *context, const uint8_t *headers, size_t n,
                               int64_t max_time, uint8_t *hashes)


cdef int unpack_params(object packed, chain_params *params) except -1:
    cdef Py_buffer view
    PyObject_GetBuffer(packed, &view, PyBUF_SIMPLE)
    try:
        if view.len != PARAMS_SIZE or chain_params_unpack(params, <const uint8_t *>view.buf) != 0:
            raise ValueError(f"params: {view.len} bytes are not the packed rules of a network")
    finally:
        PyBuffer_Release(&view)
    return 0


cdef int get_context(object packed, run_context *context) except -1:
    cdef Py_buffer view
    PyObject_GetBuffer(packed, &view, PyBUF_SIMPLE)
    try:
        if view.len != CONTEXT_SIZE or run_context_unpack(context, <const uint8_t *>view.buf) != 0:
            raise ValueError(f"ctx: {view.len} bytes are not a packed place in a chain")
    finally:
        PyBuffer_Release(&view)
    return 0


cdef int run_headers(const chain_params *params, run_context *context, const Py_buffer *headers,
                     int64_t max_time, const Py_buffer *hashes) except -1:
    """The reason code; `context` moves past the good headers."""
    cdef size_t n = <size_t>headers.len // 80
    cdef int reason
    check_whole(headers, 80, "headers")
    if <size_t>hashes.len < n * 32:
        raise ValueError(f"hashes_out: {hashes.len} bytes, {n} headers need {n * 32}")
    if n > <size_t>0xffffffff - context.height:
        raise ValueError(f"headers: {n} from height {context.height} pass the last height of 32 bits")
    if n < GIL_HASHES:
        return chain_check_run(params, context, <const uint8_t *>headers.buf, n, max_time, <uint8_t *>hashes.buf)
    with nogil:
        reason = chain_check_run(params, context, <const uint8_t *>headers.buf, n, max_time, <uint8_t *>hashes.buf)
    return reason


cdef int run_objects(object packed_params, run_context *context, object headers, int64_t max_time,
                     object hashes_out) except -1:
    cdef chain_params params
    cdef Py_buffer view, hashes
    unpack_params(packed_params, &params)
    PyObject_GetBuffer(headers, &view, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(hashes_out, &hashes, PyBUF_WRITABLE)
        try:
            return run_headers(&params, context, &view, max_time, &hashes)
        finally:
            PyBuffer_Release(&hashes)
    finally:
        PyBuffer_Release(&view)


def check_run(params, ctx, headers, int64_t max_time, hashes_out):
    cdef run_context context
    cdef uint32_t first
    cdef int reason
    cdef bytes after
    get_context(ctx, &context)
    first = context.height
    reason = run_objects(params, &context, headers, max_time, hashes_out)
    after = PyBytes_FromStringAndSize(NULL, CONTEXT_SIZE)
    run_context_pack(&context, <uint8_t *>PyBytes_AS_STRING(after))
    return context.height - first, reason, after


def check_run_into(params, ctx, headers, int64_t max_time, hashes_out):
    cdef Py_buffer target
    cdef run_context context
    cdef int reason
    get_context(ctx, &context)
    PyObject_GetBuffer(ctx, &target, PyBUF_WRITABLE)
    try:
        reason = run_objects(params, &context, headers, max_time, hashes_out)
        run_context_pack(&context, <uint8_t *>target.buf)
    finally:
        PyBuffer_Release(&target)
    return reason
