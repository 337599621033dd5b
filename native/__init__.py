"""Native kernels: hashing, header chains, Merkle branches, the hash index. Bytes in, bytes out; nothing of ours is
imported here.

``kernels`` is the compiled module, or None where no compiler ran or ``SPVNODE_KERNELS=python`` asks for the plain
Python twins. Nothing else decides that: every switch between a kernel and its twin reads this one name.
``SPVNODE_SHA256=<name>`` forces one of the SHA-256 implementations at import (see ``kernels.implementations()``);
ValueError when this CPU cannot run it.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

BytesLike = bytes | bytearray | memoryview
"""What the kernels and their twins read: anything contiguous, of bytes."""

KERNELS_VARIABLE = "SPVNODE_KERNELS"
KERNELS_CHOICES = ("", "native", "python")


def _load() -> ModuleType | None:
    choice = os.environ.get(KERNELS_VARIABLE, "")
    if choice not in KERNELS_CHOICES:
        raise ValueError(f"{KERNELS_VARIABLE}={choice!r}: must be 'native' or 'python'")
    if choice == "python":
        return None
    try:
        return importlib.import_module("native._kernels")
    except ModuleNotFoundError:
        # Not built. A module that is there and cannot be loaded raises ImportError, and that must be seen.
        if choice == "native":
            raise
        return None


kernels: ModuleType | None = _load()
