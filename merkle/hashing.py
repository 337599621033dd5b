"""The hashing that everything here is made of: the native kernels where they were built, else their Python twins.

``sha256d`` is for one message of any length; the others take many of one length in one call, which is where a kernel
gains (native/_kernels.pyi says what each does). Hashes are in internal byte order.
"""

from __future__ import annotations

import native
from merkle.pure import MAX_BRANCH_DEPTH, MAX_BRANCH_LEAVES, sha256d

if native.kernels is None:
    from merkle.pure import sha256_pairs, sha256d_headers, sha256d_pairs, verify_branches
else:
    from native._kernels import sha256_pairs, sha256d_headers, sha256d_pairs, verify_branches

__all__ = [
    "MAX_BRANCH_DEPTH",
    "MAX_BRANCH_LEAVES",
    "sha256_pairs",
    "sha256d",
    "sha256d_headers",
    "sha256d_pairs",
    "verify_branches",
]
