"""Headers that survive: one store per network.

Open one with ``HeaderStore.open(store_path(datadir, network), genesis_hash=…, start=…, now=…)``; ``StoreReader`` is its
reading half. What may go wrong is in ``spvnode.errors`` (StoreError, StoreLocked) and ``spvnode.store.errors``.
"""
