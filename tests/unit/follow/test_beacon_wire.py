"""The wire of a real host on loopback: how it ends, and what its record says."""

from __future__ import annotations

import time
from pathlib import Path

import trio
from eth_vectors import real_network
from hosts import hosts, until

from p2p.beacon import messages as m
from p2p.beacon.codec import payload
from p2p.beacon.protocols import GOODBYE
from p2p.beacon.reading import read
from p2p.discv5.enr import make, parse
from p2p.port import Stream
from spvnode.config import BeaconConfig
from spvnode.follow.ethereum_p2p import BeaconWire
from spvnode.sync import events as ev

NETWORK = real_network("mainnet-capella-nimbus21")
GONE = make(b"\x11" * 32, 1, {b"ip": bytes([127, 0, 0, 1]), b"udp": (9).to_bytes(2, "big")}).text
"""A bootnode that does not answer: on loopback it takes one to have discovery at all."""


class Owner:
    """A follower whose chain has not begun."""

    params = NETWORK
    chain = None
    front = None

    async def post(self, event: ev.Event) -> None:
        """Nobody reads it."""


def wire_in(folder: Path) -> BeaconWire:
    config = BeaconConfig(network="ethereum", listen=("/ip4/127.0.0.1/tcp/0",), bootnodes=(GONE,))
    return BeaconWire(Owner(), config, folder, time.time)


def test_goodbyes_leave_before_the_host_ends(tmp_path: Path) -> None:
    async def main() -> None:
        reasons: list[int] = []

        async def goodbye(stream: Stream) -> None:
            said = await read(payload((8, 8)), stream)
            assert isinstance(said, bytes)
            reasons.append(m.decode_uint64(said))

        async with hosts(1, key_type="secp256k1") as [other], trio.open_nursery() as nursery:
            other.handle(GOODBYE.ids[0], goodbye)
            wire = wire_in(tmp_path)
            nursery.start_soon(wire.run)
            await until(lambda: wire.net is not None)
            await other.connect(wire.addrs[0])
            await until(lambda: wire.net is not None and [peer.id for peer in wire.net.peers()] == [other.peer_id])
            nursery.cancel_scope.cancel()
        assert reasons == [m.GoodbyeReason.CLIENT_SHUTDOWN]

    trio.run(main)


def test_the_record_names_where_we_are_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            wire = wire_in(tmp_path)
            assert wire.enr == ""
            nursery.start_soon(wire.run)
            await until(lambda: wire.enr != "")
            assert parse(wire.enr).multiaddrs() == list(wire.addrs)
            nursery.cancel_scope.cancel()
        assert wire.enr == ""

    trio.run(main)
