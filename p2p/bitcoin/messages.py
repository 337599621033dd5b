"""The messages of Bitcoin's peer-to-peer protocol that a light client speaks, and their limits.

Hashes are 32 bytes in internal order, integers unsigned unless said. What a peer can make long is kept as one blob of
fixed rows (headers, inventories, filter headers): 50,000 Python objects are not made because somebody sent 50,000 rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, Final, TypeAlias

from p2p.bitcoin.netaddr import Endpoint

PROTOCOL_VERSION: Final = 70_016
"""What we speak: up to BIP155's ``sendaddrv2`` and BIP339."""
MIN_PROTOCOL_VERSION: Final = 70_013
"""Least that we talk to (Core 0.13 of 2016, BIP133): above ``sendheaders`` (BIP130, 70012), without which a peer's
announcements reach us only as hashes. Nothing as old is maintained any more."""

HEADER_SIZE: Final = 80
HASH_SIZE: Final = 32
INVENTORY_SIZE: Final = 36
"""Bytes of one row of an inventory: u32 kind, hash."""

MAX_PAYLOAD: Final = 4_000_000
"""Bytes of any payload, also of the unknown ones that are only counted (Core's MAX_PROTOCOL_MESSAGE_LENGTH)."""
MAX_HEADERS: Final = 2_000
"""Headers in one message, by the protocol."""
MAX_LOCATOR: Final = 101
"""Hashes in a locator (Core's MAX_LOCATOR_SZ); whoever asks us fills it."""
MAX_INVENTORY: Final = 50_000
"""Rows in ``inv``, ``getdata`` and ``notfound`` (Core's MAX_INV_SZ). 1.8 MB, kept as one blob."""
MAX_ADDRESSES: Final = 1_000
"""Addresses in ``addr`` and ``addrv2`` (BIP155)."""
MAX_USER_AGENT: Final = 256
"""Bytes of the name that a peer gives itself (Core's MAX_SUBVERSION_LENGTH); it reaches logs and RPC."""
MAX_VERSION: Final = 1_024
"""Bytes of a whole ``version``: 345 with the longest name, and room for what a later version appends."""
MAX_BLOCK: Final = 4_000_000
"""Bytes of a serialized block (BIP141: weight 4,000,000 at one unit a byte)."""
MIN_BLOCK: Final = HEADER_SIZE + 1
MAX_BLOCK_TXS: Final = 16_666
"""Transactions in a block: weight 4,000,000 at 240 each (Core's bound for partial Merkle trees)."""
MAX_MERKLE_FLAGS: Final = 4_200
"""Bytes of flag bits in a ``merkleblock``: two for each of 16,666 hashes, and the path down to the last."""
MAX_FILTER: Final = 524_288
"""Bytes of one compact filter: a block holds under 100,000 distinct scripts, each under 24 bits (BIP158, P = 19)."""
MAX_FILTER_HASHES: Final = 2_000
"""Filter hashes in one ``cfheaders`` (BIP157)."""
MAX_FILTER_CHECKPOINTS: Final = 10_000
"""Filter headers in one ``cfcheckpt``, one for every 1,000 blocks: enough until height ten million."""


class Services(IntFlag):
    """Service bits that we look at; any others are kept."""

    NETWORK = 1 << 0
    WITNESS = 1 << 3
    COMPACT_FILTERS = 1 << 6
    NETWORK_LIMITED = 1 << 10
    P2P_V2 = 1 << 11


class InvKind(IntEnum):
    TX = 1
    BLOCK = 2
    FILTERED_BLOCK = 3
    WTX = 5
    WITNESS_TX = 0x4000_0001
    WITNESS_BLOCK = 0x4000_0002


_BLOCKS: Final = frozenset({InvKind.BLOCK, InvKind.WITNESS_BLOCK, InvKind.FILTERED_BLOCK})
_IS_BLOCK: Final = b"\1"
_BLOCK_OR_NOT: Final = bytes(low in {kind & 0xFF for kind in _BLOCKS} for low in range(256))


@dataclass(frozen=True, slots=True)
class Address:
    """One line of ``addr`` or ``addrv2``: somebody says that ``endpoint`` was seen at ``time`` (u32, Unix seconds)."""

    time: int
    services: int
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Version:
    """``version`` as a peer says it, all of it claims. ``nonce`` tells a node its own connection."""

    command: ClassVar[str] = "version"
    version: int
    """Signed 32 bits."""
    services: int
    timestamp: int
    """Signed 64 bits, Unix seconds."""
    receiver: Endpoint
    """Where the sender believes that it talks to: our address as seen from there."""
    receiver_services: int
    sender: Endpoint
    sender_services: int
    nonce: int
    user_agent: str
    start_height: int
    """Signed 32 bits."""
    relay: bool
    """False: do not announce transactions (BIP37)."""


@dataclass(frozen=True, slots=True)
class Verack:
    command: ClassVar[str] = "verack"


@dataclass(frozen=True, slots=True)
class SendHeaders:
    """Announce blocks by ``headers`` (BIP130)."""

    command: ClassVar[str] = "sendheaders"


@dataclass(frozen=True, slots=True)
class SendAddrV2:
    """BIP155; before ``verack`` only."""

    command: ClassVar[str] = "sendaddrv2"


@dataclass(frozen=True, slots=True)
class WtxidRelay:
    """BIP339; before ``verack`` only. About transactions, so we neither send nor mind it."""

    command: ClassVar[str] = "wtxidrelay"


@dataclass(frozen=True, slots=True)
class GetAddr:
    command: ClassVar[str] = "getaddr"


@dataclass(frozen=True, slots=True)
class Ping:
    """BIP31."""

    command: ClassVar[str] = "ping"
    nonce: int


@dataclass(frozen=True, slots=True)
class Pong:
    command: ClassVar[str] = "pong"
    nonce: int


@dataclass(frozen=True, slots=True)
class FeeFilter:
    """BIP133; about transactions."""

    command: ClassVar[str] = "feefilter"
    fee_rate: int


@dataclass(frozen=True, slots=True)
class GetHeaders:
    """Asks for up to 2,000 headers after the first known hash of ``locator``, up to ``stop`` (zeros: no end)."""

    command: ClassVar[str] = "getheaders"
    locator: tuple[bytes, ...]
    stop: bytes = bytes(HASH_SIZE)
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Headers:
    """``headers``: n * 80 bytes, n from 0 to 2,000, without the transaction counts of the wire (always 0)."""

    command: ClassVar[str] = "headers"
    headers: bytes

    @property
    def count(self) -> int:
        return len(self.headers) // HEADER_SIZE


@dataclass(frozen=True, slots=True)
class _Inventory:
    """``rows``: n * 36 bytes, u32 little-endian kind and hash each."""

    rows: bytes

    @property
    def count(self) -> int:
        return len(self.rows) // INVENTORY_SIZE

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for at in range(0, len(self.rows), INVENTORY_SIZE):
            yield int.from_bytes(self.rows[at : at + 4], "little"), self.rows[at + 4 : at + INVENTORY_SIZE]

    def last_blocks(self, most: int) -> tuple[bytes, ...]:
        """Hashes of its last ``most`` blocks, in order. Rows of anything else cost no Python object: a stride takes out
        the low byte of every kind, and what looks like a block by that is looked at from the end, ``most`` times."""
        lows, found = self.rows[::INVENTORY_SIZE].translate(_BLOCK_OR_NOT), list[bytes]()
        row = len(lows)
        for _ in range(most):
            row = lows.rfind(_IS_BLOCK, 0, row)
            if row < 0:
                break
            at = row * INVENTORY_SIZE
            if int.from_bytes(self.rows[at : at + 4], "little") in _BLOCKS:
                found.append(self.rows[at + 4 : at + INVENTORY_SIZE])
        return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Inv(_Inventory):
    command: ClassVar[str] = "inv"


@dataclass(frozen=True, slots=True)
class GetData(_Inventory):
    command: ClassVar[str] = "getdata"


@dataclass(frozen=True, slots=True)
class NotFound(_Inventory):
    command: ClassVar[str] = "notfound"


def inventory_row(kind: InvKind, block_hash: bytes) -> bytes:
    """One row of an inventory."""
    return kind.to_bytes(4, "little") + block_hash


@dataclass(frozen=True, slots=True)
class Block:
    """A serialized block, not looked into."""

    command: ClassVar[str] = "block"
    raw: bytes

    @property
    def header(self) -> bytes:
        return self.raw[:HEADER_SIZE]


@dataclass(frozen=True, slots=True)
class MerkleBlock:
    """BIP37: a header and a partial Merkle tree, not checked here."""

    command: ClassVar[str] = "merkleblock"
    header: bytes
    total: int
    """Transactions in the block, by the sender's word."""
    hashes: tuple[bytes, ...]
    flags: bytes


@dataclass(frozen=True, slots=True)
class Addr:
    """Only addresses that fit into 16 bytes: IPv4, IPv6 and the late Tor v2."""

    command: ClassVar[str] = "addr"
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class AddrV2:
    """BIP155."""

    command: ClassVar[str] = "addrv2"
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class GetCFilters:
    """BIP157, as the five that follow. ``filter_type`` 0 is BIP158's basic one."""

    command: ClassVar[str] = "getcfilters"
    filter_type: int
    start_height: int
    stop_hash: bytes


@dataclass(frozen=True, slots=True)
class CFilter:
    command: ClassVar[str] = "cfilter"
    filter_type: int
    block_hash: bytes
    filter: bytes


@dataclass(frozen=True, slots=True)
class GetCFHeaders:
    command: ClassVar[str] = "getcfheaders"
    filter_type: int
    start_height: int
    stop_hash: bytes


@dataclass(frozen=True, slots=True)
class CFHeaders:
    """``filter_hashes``: n * 32 bytes, chained on ``previous_header`` by the reader."""

    command: ClassVar[str] = "cfheaders"
    filter_type: int
    stop_hash: bytes
    previous_header: bytes
    filter_hashes: bytes


@dataclass(frozen=True, slots=True)
class GetCFCheckpt:
    command: ClassVar[str] = "getcfcheckpt"
    filter_type: int
    stop_hash: bytes


@dataclass(frozen=True, slots=True)
class CFCheckpt:
    """``filter_headers``: n * 32 bytes, those of heights 1,000, 2,000, …"""

    command: ClassVar[str] = "cfcheckpt"
    filter_type: int
    stop_hash: bytes
    filter_headers: bytes


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message that we do not speak, or do not want now: its payload is counted and not kept."""

    command: str
    size: int


Spoken: TypeAlias = (
    Version
    | Verack
    | SendHeaders
    | SendAddrV2
    | WtxidRelay
    | GetAddr
    | Ping
    | Pong
    | FeeFilter
    | GetHeaders
    | Headers
    | Inv
    | GetData
    | NotFound
    | Block
    | MerkleBlock
    | Addr
    | AddrV2
    | GetCFilters
    | CFilter
    | GetCFHeaders
    | CFHeaders
    | GetCFCheckpt
    | CFCheckpt
)
"""What can be sent."""

Message: TypeAlias = Spoken | Unknown
"""What can arrive."""
