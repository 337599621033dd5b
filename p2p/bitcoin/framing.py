"""Bitcoin's v1 transport: ``magic 4 | command 12 | length u32 | checksum 4 | payload``, little-endian, in the clear.

``Decoder`` takes bytes as they come, in any pieces, and gives messages. Its memory is bounded by the greatest payload
that it waits for (``MAX_UNASKED``, unless something large is awaited); what it does not speak, or what was not asked
for, is counted and thrown away as it arrives, from its header on.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, TypeAlias

from p2p.bitcoin import payloads
from p2p.bitcoin.messages import Message, Spoken, Unknown
from p2p.bitcoin.payloads import LARGE, MAX_UNASKED, SPECS, Malformed
from p2p.faults import FaultReason, RemoteFault

HEADER: Final = struct.Struct("<4s12sI4s")
"""Magic, command, payload length, first four bytes of the payload's double SHA-256: 24 bytes."""

FOREIGN_MAGICS: Final = frozenset(
    bytes.fromhex(magic)
    for magic in (
        "f9beb4d9",  # mainnet
        "0b110907",  # testnet3
        "1c163f28",  # testnet4
        "0a03cf40",  # the default signet
        "fabfb5da",  # regtest
        "161c1412",  # btcd's simnet
        "e3e1f3e8",  # Bitcoin Cash, and what came of it
        "fbc0b6db",  # Litecoin
    )
)
"""Magics of networks that one may run into by a wrong port: a fault of configuration, not garbage."""

Fed: TypeAlias = Message | RemoteFault


def checksum(payload: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]


def encode(message: Spoken, magic: bytes) -> bytes:
    """One whole frame; raises as ``payloads.encode`` does."""
    payload = payloads.encode(message)
    return HEADER.pack(magic, message.command.encode(), len(payload), checksum(payload)) + payload


def read_command(raw: bytes) -> str | None:
    """The name in 12 bytes: printable ASCII, then zeros to the end; None when it is not that."""
    name = raw.rstrip(b"\0")
    if not all(0x20 <= byte < 0x7F for byte in name):
        return None
    return name.decode("ascii")


class Decoder:
    """Frames of one connection. ``peer`` and ``network`` name it in faults."""

    __slots__ = (
        "_buffer",
        "_checksum",
        "_command",
        "_failed",
        "_magic",
        "_need",
        "_size",
        "_skip",
        "large",
        "network",
        "peer",
    )

    def __init__(self, magic: bytes, peer: str = "", network: str = "") -> None:
        self._magic = magic
        self.peer = peer
        self.network = network
        self.large = False
        """True while a block or a filter is awaited: only then are ``block``, ``merkleblock``, and whatever is above
        ``MAX_UNASKED``, kept. Set it before asking."""
        self._buffer = bytearray()
        self._need = HEADER.size
        self._command: str | None = None  # of the frame whose payload is awaited
        self._checksum = b""
        self._size = 0
        self._skip = False
        self._failed = False

    @property
    def buffered(self) -> int:
        """Bytes held between two calls."""
        return len(self._buffer)

    @property
    def midway(self) -> bool:
        """Has a frame begun that is not whole? Of one that is thrown away nothing is held."""
        return bool(self._buffer) or self._command is not None

    def feed(self, data: bytes) -> list[Fed]:
        """What ``data`` completes, in order. A fault is the last: nothing is read after it."""
        out: list[Fed] = []
        if self._failed:
            return out
        self._buffer += data
        while not self._failed and self._step(out):
            pass
        return out

    def _step(self, out: list[Fed]) -> bool:
        """One header, payload, or piece of a payload that is thrown away. False when more bytes are needed."""
        if self._skip:
            return self._throw_away(out)
        if len(self._buffer) < self._need:
            return False
        with memoryview(self._buffer) as view:
            piece = bytes(view[: self._need])
        del self._buffer[: self._need]
        if self._command is None:
            self._read_header(piece, out)
        else:
            self._read_payload(self._command, piece, out)
        return True

    def _read_header(self, head: bytes, out: list[Fed]) -> None:
        magic, raw_command, size, self._checksum = HEADER.unpack(head)
        if magic != self._magic:
            self._fail(out, *_wrong_magic(magic))
            return
        command = read_command(raw_command)
        if command is None:
            self._fail(out, FaultReason.BAD_FRAME, f"command {raw_command!r}")
            return
        wrong = payloads.check_size(command, size)
        if wrong is not None:
            self._fail(out, wrong.reason, wrong.evidence)
            return
        self._command = command
        self._need = self._size = size
        big = command in LARGE or size > MAX_UNASKED
        self._skip = command not in SPECS or (big and not self.large)

    def _throw_away(self, out: list[Fed]) -> bool:
        dropped = min(self._need, len(self._buffer))
        del self._buffer[:dropped]
        self._need -= dropped
        if self._need or self._command is None:
            return False
        out.append(Unknown(self._command, self._size))
        self._next()
        return True

    def _read_payload(self, command: str, payload: bytes, out: list[Fed]) -> None:
        if checksum(payload) != self._checksum:
            self._fail(out, FaultReason.BAD_FRAME, f"checksum of {command} of {len(payload)} bytes")
            return
        message = payloads.decode(command, payload)
        if isinstance(message, Malformed):
            self._fail(out, message.reason, message.evidence)
            return
        out.append(message)
        self._next()

    def _next(self) -> None:
        self._command = None
        self._need = HEADER.size
        self._skip = False

    def _fail(self, out: list[Fed], reason: FaultReason, evidence: str) -> None:
        out.append(RemoteFault(reason, self.peer, evidence, self.network))
        self._failed = True
        self._buffer.clear()


def _wrong_magic(magic: bytes) -> tuple[FaultReason, str]:
    if magic in FOREIGN_MAGICS:
        return FaultReason.WRONG_NETWORK, f"speaks the network of magic {magic.hex()}"
    return FaultReason.BAD_FRAME, f"begins with {magic.hex()}, no magic"
