"""What can go wrong with a store, beside ``StoreError`` and ``StoreLocked`` of ``spvnode.errors``.

Every message names the path. None asks the user to delete anything: what can be healed is healed by
``spvnode.store.recovery`` before anybody sees an error.
"""

from __future__ import annotations

from spvnode.errors import StoreError


class StoreDamaged(StoreError):
    """A checksum failed or a file is missing or cut. Closing the store and opening it again heals it."""


class StoreFull(StoreError):
    """The disk (or a quota) has no room. Nothing of the refused write is kept; the next write tries again."""


class SchemaFromFuture(StoreError):
    """A newer version of this program wrote the store."""


class WrongChain(StoreError):
    """The store holds the chain of another genesis block."""
