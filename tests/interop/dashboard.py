"""A server with much to show, and a browser in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from beacon_view import followed
from event_node import EventNode, chain_of, live_events
from rpc_live import Live
from small_node import vector

from spvnode.config_rpc import RpcConfig
from spvnode.rpc.caller import Scope
from spvnode.rpc.settings import Desk, load_settings
from spvnode.rpc.tokens import mint
from tests.interop.chromium import Page, browser
from tests.support.proof_maker import MADE_AT

KEY = "5f" * 8 + "0123456789abcdef" * 3
FAR = 4_000_000_000


def token(*scopes: Scope, expires: int = FAR) -> str:
    return mint(bytes.fromhex(KEY), "web", scopes, issued=MADE_AT, expires=expires)[0]


READER = token(Scope.READ, Scope.PROOFS)


class Shown(EventNode):
    """A node with much to show: mainnet, regtest and a beacon chain, peers, a reorganization, faults."""

    def __init__(self) -> None:
        super().__init__("bitcoin", "regtest")
        self.beacon_views["ethereum"] = followed()
        self.log["ethereum"], self.next_seq["ethereum"] = [], 1
        self.clock = 1_687_594_000.0
        self.add("bitcoin", vector("mainnet_0-32259")[80 : 80 * 3_000])
        self.not_ready = {"bitcoin": ("the tip is 14 years old, stale after 4 hours", "most peers are elsewhere")}
        self.rows = {
            "bitcoin": [
                {"id": 0, "addr": "/ip4/192.0.2.7/tcp/8343/p2p/12D3KooWH3uVF6wv47WnArKHk5p6cvgCJEb74UTmxztmQDc298L3",
                 "subver": "spvnode/0.1.0", "inbound": False, "conntime": int(self.clock) - 7_400,
                 "last_useful": int(self.clock) - 40, "bytesrecv": 2_530_000, "synced_headers": 2_999},
                {"id": 1, "addr": "198.51.100.23:8333", "subver": "/Satoshi:28.1.0/<script>alert(1)</script>",
                 "inbound": True, "conntime": int(self.clock) - 300, "last_useful": None, "bytesrecv": 812,
                 "synced_headers": 2_990},
            ],
            "ethereum": [
                {"id": 0, "addr": "beacon.example:5052", "subver": "", "inbound": False,
                 "transport_protocol_type": "http", "score": 0.0},
            ],
        }  # fmt: skip

    def peers(self, network: str) -> list[dict[str, Any]]:
        return self.rows.get(network, [])

    def sync_info(self, network: str) -> dict[str, Any]:
        faults = {"bad-header": 3, "timeout": 1} if network == "bitcoin" else {}
        return {"state": "fetching" if network == "bitcoin" else "idle", "headers_per_second": 41_250.5,
                "faults": faults, "transitions": {}}  # fmt: skip

    def happen(self, network: str = "regtest", kind: str = "extend", **more: Any) -> int:
        if network == "ethereum":
            seq = self.next_seq[network]
            self.log[network].append({"seq": seq, "time": self.clock, "kind": kind, **more})
            self.next_seq[network] = seq + 1
            return seq
        return super().happen(network, kind, **more)

    def live(self) -> None:
        """A life: growth, a reorganization, a fault, finality."""
        self.commit(chain_of(4))
        self.commit(chain_of(6, seed=1))
        self.happen("bitcoin", "fault", detail="bad-header from /ip4/203.0.113.9/tcp/8343 <b>bold</b>")
        tip = {"height": 6_470_000, "hash": "0x" + "ab" * 32}
        self.happen("ethereum", "finality", **{"from": tip, "to": tip})


@asynccontextmanager
async def shown(folder: Path, node: Shown | None = None) -> AsyncIterator[tuple[Live, Page]]:
    """A server, and a browser that has not looked at it yet."""
    node = node or Shown()
    node.live()
    desk = Desk(load_settings(RpcConfig(), folder, {"SPVNODE_TOKEN_KEY": KEY}))
    (folder / "profile").mkdir(parents=True)
    async with live_events(node, folder, desk) as server, browser(folder / "profile") as page:
        yield server, page


async def sign_in(server: Live, page: Page, given: str = READER) -> str:
    """Opens the link; the page's origin."""
    origin = f"http://127.0.0.1:{server.port}/"
    await page.open(f"{origin}#token={given}")
    await page.until("document.querySelectorAll('#peer-rows tr').length === 3")
    await page.until("document.querySelectorAll('#events li').length >= 3")
    return origin
