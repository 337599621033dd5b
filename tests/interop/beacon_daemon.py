"""A daemon of ours that follows an Ethereum network of a test's making, or mainnet, in a process of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.interop.js_peer import until
from tests.interop.recorded import Recorded
from tests.support.daemons import Daemon, RpcFailed

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


class BeaconDaemon(Daemon):
    """``recorded`` says which network: a shifted copy of the recorded one whose genesis is at ``genesis``, or (0)
    mainnet itself. Recorded data are old, and their age is the one thing that cannot be had otherwise."""

    own_peers = True

    def __init__(
        self,
        folder: Path,
        recorded: Recorded,
        *,
        genesis: int,
        peers: Sequence[str] = (),
        bootnodes: Sequence[str] = (),
        discovery: bool = False,
    ) -> None:
        self.recorded = recorded
        self.network = "recorded" if genesis else "ethereum"
        super().__init__(folder)
        folder.mkdir(mode=0o700, parents=True)
        table: dict[str, Any] = {
            "network": self.network,
            "checkpoint": recorded.root.hex(),
            "allow_stale_checkpoint": True,
            "listen": [LOOPBACK],
            "peers": list(peers),
            "bootnodes": list(bootnodes),
            "discovery": discovery,
        }
        if genesis:
            table |= {
                "config": str(recorded.write_config(folder)),
                "genesis_validators_root": recorded.network.genesis_validators_root.hex(),
                "genesis_time": genesis,
            }
        # TOML writes strings, numbers and lists of strings as JSON does.
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        settings = [f"networks = {json.dumps([self.network])}", "[[beacon]]", *lines]
        (folder / "spvnode.toml").write_text("\n".join(settings) + "\n")

    def start(self, *arguments: str) -> None:
        """Without the mesh of the other chains."""
        super().start("--no-mesh", "--log-level", "debug", *arguments)

    def ask(self, method: str, *params: Any) -> Any:
        """The answer, None while there is none."""
        assert self.process is not None
        assert self.process.poll() is None, f"it ended: {self.log()}"
        try:
            return self.call(method, *params)
        except (OSError, http.client.HTTPException, RpcFailed):
            return None

    def finalized_slot(self) -> int:
        """-1 before trust has begun."""
        return int((self.ask("getfinalizedheader") or {"slot": -1})["slot"])

    def optimistic_slot(self) -> int:
        """-1 before trust has begun."""
        return int((self.ask("getoptimisticheader") or {"slot": -1})["slot"])

    def wait_finalized(self, slot: int) -> dict[str, Any]:
        """The finalized header, once it is that or a later one."""
        until(lambda: self.finalized_slot() >= slot, f"to finalize slot {slot}")
        found: dict[str, Any] = self.call("getfinalizedheader")
        return found

    def identity(self) -> dict[str, Any]:
        """Peer id, addresses and ENR of its beacon wire, once it listens."""

        def look() -> Any:
            return ((self.ask("getnodeinfo") or {}).get("beacon") or {}).get(self.network)

        found: dict[str, Any] = until(look, "to listen")
        return found

    def beacon_address(self) -> str:
        """Where it listens for beacon nodes."""
        return str(self.identity()["addresses"][0])

    def peers(self) -> list[dict[str, Any]]:
        """Its beacon peers."""
        found: list[dict[str, Any]] = self.ask("getpeerinfo", self.network) or []
        return found
