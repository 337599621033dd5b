"""Names of what lies in the data directory, beside one folder a network (``spvnode.store.folder``). They never change:
scripts and services name them too."""

from __future__ import annotations

CONFIG_NAME = "spvnode.toml"
"""Settings, where the operator writes any."""
IDENTITY_NAME = "identity.key"
"""The node's private key: who it is to its peers."""
BOOK_NAME = "peers.json"
"""Known addresses of peers."""
DISCOURAGED_NAME = "discouraged.json"
"""Peers to be left alone for a time."""
SOCKET_NAME = "rpc.sock"
"""The RPC for this user."""
COOKIE_NAME = ".cookie"
"""The RPC's credentials, new at each start."""
BEACON_IDENTITY_NAME = "identity.key"
"""In an Ethereum network's folder: who we are to its nodes."""
NODES_NAME = "nodes.json"
"""In an Ethereum network's folder: nodes that discovery has found."""
