"""Which networks there are, by kind. Names alone, so that a command can check its input without loading any rules.

A kind is a folder of rules (``spvnode/bitcoin``, ``spvnode/ethereum``), whose own tables hold everything else of a
network, and a module of ``spvnode/follow``, which follows one.
"""

from __future__ import annotations

BITCOIN = ("bitcoin", "testnet3", "testnet4", "signet", "regtest")
"""``spvnode.bitcoin.params.NETWORKS``."""
ETHEREUM = ("ethereum", "sepolia", "hoodi")
"""``spvnode.ethereum.networks.NETWORKS``; devnets are named by their ``[[beacon]]`` entry."""
KNOWN = BITCOIN + ETHEREUM
