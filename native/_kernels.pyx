# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=True
"""Python's side of the C kernels. Arguments are taken with PyObject_GetBuffer into Py_buffers on the stack: typed
memoryviews would allocate one object per argument and call. See _kernels.pyi for what each function does.

A buffer that another thread changes while a call runs gives undefined results (never an out-of-bounds access); pass
``bytes`` where that could happen.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

import os

include "_sha256.pxi"
include "_branches.pxi"
include "_chain.pxi"
include "_hashindex.pxi"
include "_gcs.pxi"
include "_link.pxi"

SHA256_VARIABLE = "SPVNODE_SHA256"
if os.environ.get(SHA256_VARIABLE):
    try:
        select(os.environ[SHA256_VARIABLE])
    except ValueError as error:
        raise ValueError(f"{SHA256_VARIABLE}: {error}") from None
