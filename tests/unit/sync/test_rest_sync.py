"""The whole way on recorded mainnet data: trust by a quorum of loopback beacon nodes, then 21 periods, then the headers
of their last finality and optimistic update, over REST, with hostile endpoints among them."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from eth_vectors import real_json, real_network, unhex
from rest_server import SSZ, Asked, BeaconServer, Script, answer, serving

from p2p.rest.api import BeaconApi
from p2p.rest.client import RestClient, Timing
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.containers import beacon_root
from spvnode.ethereum.units import Slot
from spvnode.follow.trust import Start, TrustConfig, TrustStart
from spvnode.follow.witness import RestWitness
from spvnode.store.beacon import BeaconStore
from spvnode.store.memory import MemoryEngine
from spvnode.sync.beacon_rest import RestSource
from spvnode.sync.driver import Driver
from spvnode.sync.rest_peer import RestTiming

SET = "mainnet-capella-nimbus21"
NETWORK = real_network(SET)
NOW = NETWORK.start_of(Slot(6730832))
TIMING = RestTiming(poll=0.2, finality_every=2, retry_first=0.1, retry_cap=0.5, events=False)
LC = "/eth/v1/beacon/light_client/"


def honest(*, ssz: bool = True, missing: str = "404") -> BeaconServer:
    """Its finality update is the newest; the block that the others begin at is canonical for it."""
    header = real_json(SET, "bootstrap.json")["data"]["header"]["beacon"]
    return BeaconServer(SET, ssz=ssz, missing=missing, headers={header["slot"]: header})


class Forger(BeaconServer):
    """Serves updates whose signature does not hold."""

    def updates(self, start: int, count: int, asked: Asked) -> bytes:
        entries = [entry[2] for entry in self.entries() if start <= entry[0] < start + count]
        return answer(b"".join(entry[:-20] + bytes(4) + entry[-16:] for entry in entries), SSZ)


async def hang(stream: trio.abc.Stream, asked: Asked) -> None:
    await trio.sleep_forever()


async def chatter(stream: trio.abc.Stream, asked: Asked) -> None:
    await stream.send_all(answer(b"\x00" * 3_000_000, SSZ))


@pytest.mark.parametrize(
    "servers",
    [
        (honest(), honest()),
        (honest(ssz=False), honest(missing="500")),
        (hang, Forger(SET), honest(), chatter, honest(missing="500")),
    ],
    ids=["ssz", "json and http 500", "among hostile ones"],
)
def test_from_a_checkpoint_to_the_tip(servers: tuple[Script, ...], tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            endpoints = [await stack.enter_async_context(serving(server)) for server in servers]
            api = BeaconApi(RestClient(timing=Timing(connect=1.0, idle=1.0, deadline=2.0)))
            witnesses = [RestWitness(NETWORK, api, endpoint) for endpoint in endpoints]
            root = unhex(real_json(SET, "manifest.json")["trusted_block_root"])
            begun_at = NETWORK.start_of(Slot(6553600 + 7200))
            trust = TrustStart(
                NETWORK, TrustConfig(root=root), lambda: witnesses, folder=tmp_path, clock=lambda: begun_at
            )
            found = await trust.establish()
            assert isinstance(found, Start)
            chain = begun(found)
            source = RestSource(
                NETWORK, api, endpoints, tip=lambda: chain.tip, timing=TIMING, clock=lambda: NOW,
                finalized=lambda: (chain.finalized.beacon.slot, beacon_root(chain.finalized.beacon)),
            )  # fmt: skip
            driver = Driver(chain, source, jitter=lambda: 0.5, clock=lambda: NOW)
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(driver.run)
                    nursery.start_soon(source.run, driver)
                    while (chain.finalized.beacon.slot, chain.optimistic.beacon.slot) != (6730752, 6730830):  # noqa: ASYNC110
                        await trio.sleep(0.05)
                    nursery.cancel_scope.cancel()
            assert (chain.tip.height, chain.periods) == (820, (800, 820))
            assert not source.ledger.disagreements
            json.dumps(source.info())
            await api.client.aclose()

    trio.run(main)


def begun(start: Start) -> BeaconChain:
    store = BeaconStore.open(MemoryEngine(), chain_id=NETWORK.genesis_validators_root, now=NOW)
    chain = BeaconChain.begin(NETWORK, store, start.bootstrap.value, start.begin, clock=lambda: NOW)
    assert isinstance(chain, BeaconChain)
    return chain
