"""The beacon wire: what Ethereum's consensus nodes speak over libp2p, as far as a light client needs it.

Bytes, digests and limits; no consensus rule. What is true, what we serve and which network we are on is the
``provider.Provider``'s to say. Source: consensus-specs ``phase0/p2p-interface.md``, ``altair/p2p-interface.md``,
``altair/light-client/p2p-interface.md``, ``fulu/p2p-interface.md``.
"""
