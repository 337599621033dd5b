"""What tests do with js beacon nodes: start them, look at what came to them, have them gossip."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from tests.interop.beacon_daemon import BeaconDaemon
from tests.interop.js_peer import JsPeer, until
from tests.interop.recorded import Object, Recorded

Js = Callable[..., JsPeer]
Daemons = Callable[..., BeaconDaemon]
BY_REQUEST = ("light_client_finality_update/1", "light_client_optimistic_update/1")


def beacon_node(js: Js, recorded: Recorded, genesis: int, *, without: tuple[str, ...] = (), **options: Any) -> JsPeer:
    """A js node of that network, which has everything of the set."""
    beacon = recorded.beacon(genesis, without, real=not genesis)
    peer = js(key="secp256k1", beacon=beacon, preset=recorded.network.preset.name, **options)
    peer.tell("have", **recorded.everything())
    return peer


def asked(peer: JsPeer, method: str) -> list[dict[str, Any]]:
    """Requests of one kind that came to it."""
    return [one for one in peer.tell("asked") if one["method"] == method]


def topic(digest: str, name: str) -> str:
    """Of light-client gossip."""
    return f"/eth2/{digest}/light_client_{name}_update/ssz_snappy"


def publish(peer: JsPeer, name: str, one: Object, to: str) -> None:
    """Gossip it, once ``to`` is in its mesh."""
    until(lambda: to in peer.tell("mesh", topic=topic(one.digest, name)), "to be in its mesh")
    peer.tell("gossip", name=name, digest=one.digest, data=base64.b64encode(one.ssz).decode())
