"""Daemons of ours and foreign full nodes of one test, and what is asked of them again and again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from tests.interop import bcoin, btcd
from tests.interop.bcoin import Bcoin
from tests.interop.btcd import Btcd, Cable
from tests.interop.full_node import Client, FullNode
from tests.interop.js_peer import until
from tests.support.daemons import Daemon

BLOCKS = 5_200
"""Of a node from which headers are synchronised: more than two messages of them."""
Tell = Callable[[str], None]
"""Prints a measurement."""
Kind = TypeVar("Kind", bound=FullNode)


class Nodes:
    """Starts them; ``end`` ends all, however the test went. Daemons must end well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends = ExitStack()
        self._made = 0

    def _place(self, kind: str) -> Path:
        self._made += 1
        return self._folder / f"{kind}-{self._made}"

    def btcd(self, *options: str, blocks: int = 0) -> Btcd:
        return self.started(Btcd(self._place("btcd"), *options), blocks)

    def bcoin(self, *options: str, blocks: int = 0, kind: type[Bcoin] = Bcoin) -> Bcoin:
        return self.started(kind(self._place("bcoin"), *options), blocks)

    def started(self, node: Kind, blocks: int) -> Kind:
        self._ends.callback(node.end)
        node.start()
        for at in range(0, blocks, 1_000):
            node.mine(min(1_000, blocks - at))
        return node

    def daemon(self, *arguments: str) -> Daemon:
        """Debug logs tell every fault of a peer."""
        node = Daemon(self._place("node"), "regtest")
        self._ends.callback(ended, node)
        node.start("--log-level", "debug", *arguments)
        node.wait_answer()
        return node

    def follower(self, address: str, *arguments: str) -> Daemon:
        """A daemon of which the node at ``address`` is the only peer."""
        return self.daemon("--no-mesh", "--connect", address, *arguments)

    def client(self, address: str, *, v2: bool) -> Client:
        return self._following(btcd.follow(self._place("client"), address, v2=v2))

    def bcoin_client(self, address: str) -> Client:
        return self._following(bcoin.follow(self._place("client"), address))

    def _following(self, client: Client) -> Client:
        self._ends.callback(client.stop)
        return client

    def cable(self, node: FullNode) -> Cable:
        cable = Cable(node.address)
        self._ends.callback(cable.down)
        return cable

    def end(self) -> None:
        self._ends.close()


def ended(node: Daemon) -> None:
    assert node.stop() == 0, node.log()[-2_000:]
    assert node.faults() == []


def same(node: Daemon, other: FullNode) -> int:
    """Waits until both have the same chain; its height."""
    until(lambda: node.poll() == other.height() and node.call("getbestblockhash") == other.best(), "the same tip")
    return node.acknowledged


def peer_of(node: Daemon) -> dict[str, Any]:
    """The one that it dialed."""
    (row,) = [row for row in node.call("getpeerinfo") if not row["inbound"]]
    return dict(row)


def p2p_address(node: Daemon) -> str:
    (line,) = node.lines("wire up")
    host, port = line["listen"][0]
    return f"{host}:{port}"


def events_of(node: Daemon, kind: str) -> list[dict[str, Any]]:
    return [event for event in node.call("getevents", 0, 1_000)["events"] if event["kind"] == kind]


def meet_and_part(one: Btcd, other: Btcd) -> None:
    """``one`` gets what ``other`` has. btcd goes on dialing whom it was told to forget: a cable is cut for good."""
    cable = Cable(other.address)
    one.call("addnode", cable.address, "add")
    until(lambda: one.best() == other.best(), "one btcd to follow the other")
    cable.down()
    until(lambda: not one.call("getconnectioncount"), "the two to part")
