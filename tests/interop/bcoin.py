"""A real bcoin, full or SPV; and ``bcoin/headers.js``, a light client made of its parts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from tests.interop.full_node import Client, FullNode, free_port

FOLDER = Path(__file__).parent / "bcoin"
PROGRAMS = FOLDER / "node_modules" / "bcoin" / "bin"
TRUE_ADDRESS = "Gdj5bzLLUhMjQFe3WiukAMfxBTHTuWgw7f"
"""``btcd.TRUE_ADDRESS`` in the letters that bcoin has for regtest."""
WITNESS_SCRIPT = b"\x00\x20" + hashlib.sha256(b"\x51").digest()
"""The output script of the same, as pay-to-witness-script-hash."""
_QUIET: Final = (
    "--public-host=aaaaaaaaaaaaaaaa.onion",  # who knows where it is asks no DNS server; others of it do not dial that
    "--seeds=127.0.0.1:9",  # nobody: its own would be a port that the kernel gives to anybody
    "--max-outbound=1",
    "--workers=false",
    "--reject-absurd-fees=false",  # transactions of these tests leave most of it to the miner
)
BAN_SCORE: Final = 100
"""At which bcoin bans an address for a day."""
FRAMING_SCORE: Final = 10
"""Its score for 24 bytes that are no head of a frame."""


def missing() -> str | None:
    """What is not installed, in one line; None when nothing."""
    if (FOLDER / "node_modules" / ".package-lock.json").exists():
        return None
    return "the packages of tests/interop/bcoin/package-lock.json are not installed; run: make interop"


class Bcoin(FullNode):
    """bcoin, which mines to ``TRUE_ADDRESS``. ``program``: ``node``, or ``spvnode``, which cannot mine."""

    program = "node"

    def command(self) -> list[str]:
        command = ["node", str(PROGRAMS / self.program), "--network=regtest", f"--prefix={self.folder}", *_QUIET]
        command += ["--host=127.0.0.1", f"--port={self.port}", "--log-level=debug"]
        return [*command, "--http-host=127.0.0.1", f"--http-port={self.rpc}", "--api-key=p", "--no-wallet"]

    def mine(self, count: int) -> list[str]:
        hashes: list[str] = self.call("generatetoaddress", count, TRUE_ADDRESS)
        assert len(hashes) == count
        return hashes

    def end(self) -> None:
        """And must not have looked beyond loopback."""
        super().end()
        dialed = [line for line in self.log().splitlines() if "Connecting to " in line]
        assert all("Connecting to 127.0.0.1:" in line for line in dialed)


class BcoinSpv(Bcoin):
    """Its SPV node, whose wallet cannot be left out."""

    program = "spvnode"

    def command(self) -> list[str]:
        wallet = ["--wallet-memory", "--wallet-http-host=127.0.0.1", f"--wallet-http-port={free_port()}"]
        return [*super().command(), *wallet]


def follow(folder: Path, address: str) -> Client:
    """The light client of ``bcoin/``, following the node at ``address``."""
    folder.mkdir()
    return Client(folder, ["node", str(FOLDER / "headers.js"), address])


def spend_witness(txid: str) -> str:
    """A transaction (hex) that spends the first output of ``spend(..., script=WITNESS_SCRIPT)``, to the same script."""
    into = b"\1" + bytes.fromhex(txid)[::-1] + bytes(4) + b"\0" + b"\xff" * 4
    out = b"\1" + (900_000).to_bytes(8, "little") + bytes((len(WITNESS_SCRIPT),)) + WITNESS_SCRIPT
    witness = b"\1\1\x51"  # one item: the script
    return (b"\1\0\0\0\0\1" + into + out + witness + bytes(4)).hex()
