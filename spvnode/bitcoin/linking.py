"""Headers without the hash of their parent: 48 bytes instead of 80, for headers that wait in a row.

``link_headers`` is a kernel where it was built, its Python twin elsewhere.
"""

from __future__ import annotations

from hashlib import sha256

from native import BytesLike, kernels
from spvnode.types import HASH_SIZE, HEADER_SIZE, PREV_HASH

BODY_SIZE = HEADER_SIZE - HASH_SIZE
"""Bytes of a header without ``hashPrevBlock``."""


def strip_links(headers: BytesLike) -> bytearray:
    """n * 80 bytes of linked headers -> n * 48 bytes of bodies. ValueError where ``headers`` is not whole."""
    if len(headers) % HEADER_SIZE:
        raise ValueError(f"headers: {len(headers)} bytes are no multiple of {HEADER_SIZE}")
    # By columns of 4 bytes: a dozen strided copies, whatever the number of headers.
    words, width, out_width = memoryview(headers).cast("I"), HEADER_SIZE // 4, BODY_SIZE // 4
    bodies = bytearray(len(headers) // HEADER_SIZE * BODY_SIZE)
    out = memoryview(bodies).cast("I")
    kept = [*range(PREV_HASH.start // 4), *range(PREV_HASH.stop // 4, width)]
    for column, source in enumerate(kept):
        out[column::out_width] = words[source::width]
    return bodies


def link_headers_plain(bodies: BytesLike, prev_hash: bytes) -> bytes:
    """The headers (n * 80) whose bodies (n * 48) these are, the first following ``prev_hash``: each next one follows
    the hash of the one before. ValueError where a size is wrong."""
    if len(bodies) % BODY_SIZE:
        raise ValueError(f"bodies: {len(bodies)} bytes are no multiple of {BODY_SIZE}")
    if len(prev_hash) != HASH_SIZE:
        raise ValueError(f"prev_hash: {len(prev_hash)} bytes, not {HASH_SIZE}")
    raw, out, version = bytes(bodies), [], PREV_HASH.start
    for at in range(0, len(raw), BODY_SIZE):
        header = raw[at : at + version] + prev_hash + raw[at + version : at + BODY_SIZE]
        out.append(header)
        prev_hash = sha256(sha256(header).digest()).digest()
    return b"".join(out)


_link_headers = link_headers_plain if kernels is None else kernels.link_headers


def link_headers(bodies: BytesLike, prev_hash: bytes) -> bytes:
    """See ``link_headers_plain``."""
    linked: bytes = _link_headers(bodies, prev_hash)
    return linked
