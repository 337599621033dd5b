"""Bitcoin's encrypted v2 transport (BIP324), sans-IO, and the choice between it and v1.

``V2Transport`` is given what arrives and gives messages; what it has to send of its own accord (key, garbage, version
packet) comes out of ``outgoing``. A responder that sees a v1 ``version`` goes on as v1. An initiator whose remote hangs
up before it has said anything, or answers in v1, has met one that speaks v1 only: ``speaks_v1`` says so, and the caller
dials again with ``V1Transport``, which has the same doors.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Protocol

from p2p.bitcoin import ellswift, framing, payloads
from p2p.bitcoin.framing import Decoder, Fed
from p2p.bitcoin.messages import MAX_PAYLOAD, Spoken, Unknown
from p2p.bitcoin.payloads import LARGE, MAX_UNASKED, Malformed
from p2p.bitcoin.v2_cipher import LENGTH_SIZE, OVERHEAD, TERMINATOR_SIZE, PacketCipher, Unread, derive
from p2p.faults import FaultReason, RemoteFault

MAX_GARBAGE: Final = 4_095
"""Bytes after a public key and before the terminator (BIP324). The remote fills it before it has proven anything."""
MAX_CONTENTS: Final = 1 + 12 + MAX_PAYLOAD
"""Bytes in a packet: the greatest payload with the longer form of its type. BIP324 would allow 16 MB. Kept while
something large is awaited; else what is above ``MAX_UNASKED`` is thrown away as it arrives, and only its seal is
checked."""
_COMMAND_SIZE: Final = 12
_MAX_SMALL: Final = 1 + _COMMAND_SIZE + MAX_UNASKED
_V1_COMMAND: Final = b"version\0\0\0\0\0"

SHORT_IDS: Final[dict[int, str]] = {
    1: "addr",
    2: "block",
    3: "blocktxn",
    4: "cmpctblock",
    5: "feefilter",
    6: "filteradd",
    7: "filterclear",
    8: "filterload",
    9: "getblocks",
    10: "getblocktxn",
    11: "getdata",
    12: "getheaders",
    13: "headers",
    14: "inv",
    15: "mempool",
    16: "merkleblock",
    17: "notfound",
    18: "ping",
    19: "pong",
    20: "sendcmpct",
    21: "tx",
    22: "getcfilters",
    23: "cfilter",
    24: "getcfheaders",
    25: "cfheaders",
    26: "getcfcheckpt",
    27: "cfcheckpt",
    28: "addrv2",
}
"""One byte for the common commands (BIP324, message_type_ids.md)."""
_SHORT: Final = {command: number for number, command in SHORT_IDS.items()}


class Transport(Protocol):
    """What a connection needs of either version."""

    large: bool
    """True while a block or a filter is awaited; see ``framing.Decoder``."""

    @property
    def ready(self) -> bool:
        """May messages be sent?"""

    @property
    def version(self) -> int:
        """1 or 2."""

    @property
    def buffered(self) -> int:
        """Bytes of a message in the making."""

    @property
    def midway(self) -> bool:
        """Is a message in the making, be it one that is not kept?"""

    def outgoing(self) -> bytes:
        """What is to be sent now, of the transport's own; at the start and after every ``feed``."""

    def feed(self, data: bytes) -> list[Fed]:
        """What ``data`` completes; a fault is the last."""

    def encode(self, message: Spoken) -> bytes:
        """The bytes of a message, once ``ready``."""


class V1Transport(Decoder):
    """v1 has no handshake of its own."""

    __slots__ = ()

    @property
    def ready(self) -> bool:
        return True

    @property
    def version(self) -> int:
        return 1

    def outgoing(self) -> bytes:
        return b""

    def encode(self, message: Spoken) -> bytes:
        return framing.encode(message, self._magic)


class _State(Enum):
    KEY_OR_V1 = auto()  # a responder before the first byte that is not v1's
    KEY = auto()
    GARBAGE = auto()
    VERSION = auto()
    APPLICATION = auto()
    V1 = auto()
    FAILED = auto()


class V2Transport:
    """One connection. ``secret``, ``randomness`` (32 bytes each) and ``garbage`` are the caller's: fresh for every
    connection and unpredictable (``secrets``)."""

    def __init__(
        self,
        magic: bytes,
        *,
        initiator: bool,
        secret: bytes,
        randomness: bytes,
        garbage: bytes = b"",
        peer: str = "",
        network: str = "",
    ) -> None:
        if len(garbage) > MAX_GARBAGE:
            raise ValueError(f"{len(garbage)} bytes of garbage are above {MAX_GARBAGE}")
        self._magic = magic
        self._initiator = initiator
        self._secret = secret
        self._ours = ellswift.create(secret, randomness)
        self._garbage = garbage
        self._peer = peer
        self._network = network
        self._state = _State.KEY if initiator else _State.KEY_OR_V1
        self._buffer = bytearray()
        self._outgoing = bytearray(self._ours + garbage if initiator else b"")
        self._cipher: PacketCipher | None = None
        self._aad = b""  # of the next packet: their garbage, for the first
        self._length: int | None = None  # of the packet that is arriving
        self._unread: Unread | None = None  # that packet, where it is thrown away
        self.decoys = 0
        """Decoys received. Nothing limits them here: cover traffic is what they are for. Who pays for bytes counts."""
        self._searched = 0  # how far into the garbage no terminator begins
        self._heard = False
        self._v1: V1Transport | None = None
        self._large = False

    @property
    def large(self) -> bool:
        return self._large

    @large.setter
    def large(self, value: bool) -> None:
        self._large = value
        if self._v1 is not None:
            self._v1.large = value

    @property
    def ready(self) -> bool:
        return self._state in (_State.APPLICATION, _State.V1)

    @property
    def version(self) -> int:
        return 1 if self._state is _State.V1 else 2

    @property
    def speaks_v1(self) -> bool:
        """For an initiator whose connection has ended before ``ready``: was that a v1 node? One hangs up on our key, a
        wrong magic to it, and has said nothing until then, or a v1 ``version``."""
        return self._initiator and not self._heard

    @property
    def session_id(self) -> bytes | None:
        """32 bytes that both ends have in common, for their operators to compare; None before the keys."""
        return self._cipher.session_id if self._cipher is not None else None

    @property
    def buffered(self) -> int:
        """Bytes held between two calls."""
        return len(self._buffer) + (self._v1.buffered if self._v1 is not None else 0)

    @property
    def midway(self) -> bool:
        return bool(self._buffer) or self._length is not None or (self._v1 is not None and self._v1.midway)

    def outgoing(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def encode(self, message: Spoken) -> bytes:
        """One packet (or v1 frame). RuntimeError before ``ready``; else as ``payloads.encode``."""
        if self._v1 is not None:
            return self._v1.encode(message)
        if self._state is not _State.APPLICATION:
            raise RuntimeError("the v2 handshake has not ended")
        number = _SHORT.get(message.command)
        kind = bytes((number,)) if number else b"\0" + message.command.encode().ljust(_COMMAND_SIZE, b"\0")
        return self._keys().seal(kind + payloads.encode(message))

    def decoy(self, contents: bytes = b"") -> bytes:
        """A packet that the remote ignores. RuntimeError before the keys are there."""
        return self._keys().seal(contents, decoy=True)

    def _keys(self) -> PacketCipher:
        if self._cipher is None:
            raise RuntimeError("there are no keys yet")
        return self._cipher

    def feed(self, data: bytes) -> list[Fed]:
        """What ``data`` completes, in order. A fault is the last: nothing is read after it."""
        if self._v1 is not None:
            return self._v1.feed(data)
        out: list[Fed] = []
        if self._state is _State.FAILED:
            return out
        self._buffer += data
        while self._step(out):
            pass
        return out

    def _step(self, out: list[Fed]) -> bool:
        """Go on by one; False when more bytes are needed, or none any more."""
        match self._state:
            case _State.KEY_OR_V1:
                return self._step_prefix(out)
            case _State.KEY:
                return self._step_key(out)
            case _State.GARBAGE:
                return self._step_garbage(out)
            case _State.VERSION | _State.APPLICATION:
                return self._step_packet(out)
            case _:
                return False

    def _step_prefix(self, out: list[Fed]) -> bool:
        """A v1 node begins with ``version``; the first byte that differs makes it v2."""
        prefix = self._magic + _V1_COMMAND
        head = bytes(self._buffer[: len(prefix)])
        if head == prefix:
            self._v1 = V1Transport(self._magic, self._peer, self._network)
            self._v1.large = self._large
            self._state = _State.V1
            rest = bytes(self._buffer)
            self._buffer.clear()
            out += self._v1.feed(rest)
            return False
        if head == prefix[: len(head)]:
            return False
        self._outgoing += self._ours + self._garbage
        self._state = _State.KEY
        return True

    def _step_key(self, out: list[Fed]) -> bool:
        if len(self._buffer) < len(self._magic) + _COMMAND_SIZE:
            return False
        magic = bytes(self._buffer[: len(self._magic)])
        if self._buffer.startswith(_V1_COMMAND, len(magic)):
            self._fail(out, *self._v1_instead(magic))
            return False
        self._heard = True
        if len(self._buffer) < ellswift.KEY_SIZE:
            return False
        theirs = bytes(self._buffer[: ellswift.KEY_SIZE])
        del self._buffer[: ellswift.KEY_SIZE]
        shared = ellswift.agree(self._ours, theirs, self._secret, initiator=self._initiator)
        self._secret = b""  # forward secrecy: nothing that can make the keys again is kept
        self._cipher = PacketCipher(derive(shared, self._magic), initiator=self._initiator)
        # The first packet authenticates our garbage; its contents are empty: transport version 0.
        self._outgoing += self._cipher.send_terminator + self._cipher.seal(b"", self._garbage)
        self._state = _State.GARBAGE
        return True

    def _v1_instead(self, magic: bytes) -> tuple[FaultReason, str]:
        """A v1 node that talks first, or one of another network that dialed us."""
        if magic == self._magic:
            return FaultReason.REFUSED, "answers with v1 to a v2 handshake"
        return FaultReason.WRONG_NETWORK, f"speaks the network of magic {magic.hex()}"

    def _step_garbage(self, out: list[Fed]) -> bool:
        cipher = self._keys()
        found = self._buffer.find(cipher.recv_terminator, self._searched, MAX_GARBAGE + TERMINATOR_SIZE)
        if found >= 0:
            self._aad = bytes(self._buffer[:found])
            del self._buffer[: found + TERMINATOR_SIZE]
            self._state = _State.VERSION
            return True
        if len(self._buffer) >= MAX_GARBAGE + TERMINATOR_SIZE:
            self._fail(out, FaultReason.BAD_FRAME, f"no garbage terminator in {MAX_GARBAGE + TERMINATOR_SIZE} bytes")
            return False
        self._searched = max(0, len(self._buffer) - TERMINATOR_SIZE + 1)
        return False

    def _step_packet(self, out: list[Fed]) -> bool:
        cipher = self._keys()
        if self._length is None:
            return self._step_length(cipher, out)
        if self._unread is not None:
            return self._throw_away(self._unread, self._length, out)
        size = self._length + OVERHEAD
        if len(self._buffer) < size:
            return False
        with memoryview(self._buffer) as view:
            sealed = bytes(view[:size])
        del self._buffer[:size]
        self._length = None
        opened = cipher.open(sealed, self._aad)
        self._aad = b""
        if opened is None:
            self._fail(out, FaultReason.BAD_FRAME, "a packet that does not authenticate")
            return False
        return self._take(*opened, out)

    def _step_length(self, cipher: PacketCipher, out: list[Fed]) -> bool:
        if len(self._buffer) < LENGTH_SIZE:
            return False
        self._length = cipher.open_length(bytes(self._buffer[:LENGTH_SIZE]))
        del self._buffer[:LENGTH_SIZE]
        most = MAX_CONTENTS if self._state is _State.APPLICATION else _MAX_SMALL  # the first one must be opened
        if self._length > most:
            self._fail(out, FaultReason.OVERSIZED, f"a packet of {self._length} bytes is above {most}")
            return False
        if self._length > _MAX_SMALL and not self._large:
            self._unread = cipher.unread(self._length)
        return True

    def _throw_away(self, packet: Unread, length: int, out: list[Fed]) -> bool:
        del self._buffer[: packet.take(bytes(self._buffer))]
        if not packet.whole:
            return False
        self._length = self._unread = None
        if not packet.genuine():
            self._fail(out, FaultReason.BAD_FRAME, "a packet that does not authenticate")
            return False
        out.append(Unknown("", length))
        return True

    def _take(self, decoy: bool, contents: bytes, out: list[Fed]) -> bool:
        if decoy:
            self.decoys += 1
            return True
        if self._state is _State.VERSION:
            self._state = _State.APPLICATION  # its contents are for later versions of the transport
            return True
        message = self._read(contents)
        if isinstance(message, Malformed):
            self._fail(out, message.reason, message.evidence)
            return False
        out.append(message)
        return True

    def _read(self, contents: bytes) -> Fed | Malformed:
        if not contents:
            return Malformed(FaultReason.BAD_FRAME, "a packet without a message type")
        command: str | None
        if contents[0]:
            command = SHORT_IDS.get(contents[0], f"type {contents[0]}")
            payload = contents[1:]
        else:
            command = framing.read_command(contents[1 : 1 + _COMMAND_SIZE])
            payload = contents[1 + _COMMAND_SIZE :]
            if len(contents) < 1 + _COMMAND_SIZE or command is None:
                return Malformed(FaultReason.BAD_FRAME, f"message type {contents[: 1 + _COMMAND_SIZE]!r}")
        if command in LARGE and not self._large:
            return payloads.check_size(command, len(payload)) or Unknown(command, len(payload))
        return payloads.decode(command, payload)

    def _fail(self, out: list[Fed], reason: FaultReason, evidence: str) -> None:
        out.append(RemoteFault(reason, self._peer, evidence, self._network))
        self._state = _State.FAILED
        self._buffer.clear()
