"""Payloads of messages: bytes to a message or ``Malformed``, and back. One table names every command with the least
and the greatest size of its payload, so that a reader knows before the payload arrives whether it may."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from p2p.bitcoin import messages as m
from p2p.bitcoin.cursor import (
    Cursor,
    Refused,
    bad,
    compact,
    hash_vector,
    net_address,
    vector,
)
from p2p.bitcoin.netaddr import HOST_SIZES, MAX_HOST, Endpoint, Network
from p2p.faults import FaultReason

NOWHERE: Final = Endpoint(Network.IPV6, bytes(16), 0)
"""The address of one who does not say where he is."""

_ROW: Final = m.HEADER_SIZE + 1
_ADDR_ROW: Final = 30
_ADDR_V2_MOST: Final = 4 + 9 + 1 + 3 + MAX_HOST + 2
_VERSION_LEAST: Final = 4 + 8 + 8 + 26
_FILTER_RANGE: Final = struct.Struct("<BI32s")
_VERSION_HEAD: Final = struct.Struct("<iQq")


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are no message, and why."""

    reason: FaultReason
    evidence: str


def _version(c: Cursor) -> m.Version:
    """Old software leaves fields away at the end, newer may add some: both are read, so that it can be told why it is
    refused."""
    version, services, timestamp = c.sint(4), c.uint(8), c.sint(8)
    receiver_services, receiver = c.net_address()
    sender_services, sender = c.net_address() if c.left else (0, NOWHERE)
    nonce = c.uint(8) if c.left else 0
    name = c.take(c.count(m.MAX_USER_AGENT, "bytes of user agent")) if c.left else b""
    start_height = c.sint(4) if c.left else 0
    relay = c.uint(1) != 0 if c.left else True
    c.rest()
    agent = "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in name)
    return m.Version(
        version,
        services,
        timestamp,
        receiver,
        receiver_services,
        sender,
        sender_services,
        nonce,
        agent,
        start_height,
        relay,
    )


def _get_headers(c: Cursor) -> m.GetHeaders:
    version = c.uint(4)
    locator = c.hashes(m.MAX_LOCATOR, "locator hashes")
    return m.GetHeaders(locator, c.take(32), version)


def _headers(c: Cursor) -> m.Headers:
    """Rows of 81 bytes, of which the last is the transaction count, always 0. They are taken out by one deletion with
    a stride: no object per header, 5 ns each."""
    count = c.count(m.MAX_HEADERS, "headers")
    if c.left != count * _ROW:
        raise bad(f"{count} headers in {c.left} bytes")
    rows = bytearray(memoryview(c.data)[c.at :])
    if rows[_ROW - 1 :: _ROW].count(0) != count:
        raise bad("a header with transactions")
    del rows[_ROW - 1 :: _ROW]
    c.at = len(c.data)
    return m.Headers(bytes(rows))


def _block(c: Cursor) -> m.Block:
    return m.Block(c.rest())


def _merkle_block(c: Cursor) -> m.MerkleBlock:
    header, total = c.take(m.HEADER_SIZE), c.uint(4)
    hashes = c.hashes(m.MAX_BLOCK_TXS, "hashes")
    return m.MerkleBlock(header, total, hashes, c.rows(1, m.MAX_MERKLE_FLAGS, "flag bytes"))


def _addr(c: Cursor) -> m.Addr:
    found = []
    for _ in range(c.count(m.MAX_ADDRESSES, "addresses")):
        time = c.uint(4)
        services, endpoint = c.net_address()
        found.append(m.Address(time, services, endpoint))
    return m.Addr(tuple(found))


def _addr_v2(c: Cursor) -> m.AddrV2:
    """BIP155: an unknown network is kept, a known one with an address of the wrong size refuses the message."""
    found = []
    for _ in range(c.count(m.MAX_ADDRESSES, "addresses")):
        time, services, network = c.uint(4), c.compact(), c.uint(1)
        host = c.take(c.count(MAX_HOST, "bytes of address"))
        if HOST_SIZES.get(network, len(host)) != len(host):
            raise bad(f"an address of {len(host)} bytes in network {network}")
        found.append(m.Address(time, services, Endpoint(network, host, int.from_bytes(c.take(2), "big"))))
    return m.AddrV2(tuple(found))


def _cfilter(c: Cursor) -> m.CFilter:
    return m.CFilter(c.uint(1), c.take(32), c.rows(1, m.MAX_FILTER, "bytes of filter"))


def _cfheaders(c: Cursor) -> m.CFHeaders:
    kind, stop, previous = c.uint(1), c.take(32), c.take(32)
    return m.CFHeaders(kind, stop, previous, c.rows(32, m.MAX_FILTER_HASHES, "filter hashes"))


def _cfcheckpt(c: Cursor) -> m.CFCheckpt:
    return m.CFCheckpt(c.uint(1), c.take(32), c.rows(32, m.MAX_FILTER_CHECKPOINTS, "filter headers"))


def _inventory(c: Cursor) -> bytes:
    return c.rows(m.INVENTORY_SIZE, m.MAX_INVENTORY, "inventory rows")


class Spec(NamedTuple):
    """How one command is read: least and greatest payload in bytes, and the reader."""

    least: int
    most: int
    read: Callable[[Cursor], m.Spoken]


_INVENTORY_MOST: Final = 3 + m.INVENTORY_SIZE * m.MAX_INVENTORY

SPECS: Final[dict[str, Spec]] = {
    "version": Spec(_VERSION_LEAST, m.MAX_VERSION, _version),
    "verack": Spec(0, 0, lambda c: m.Verack()),
    "sendheaders": Spec(0, 0, lambda c: m.SendHeaders()),
    "sendaddrv2": Spec(0, 0, lambda c: m.SendAddrV2()),
    "wtxidrelay": Spec(0, 0, lambda c: m.WtxidRelay()),
    "getaddr": Spec(0, 0, lambda c: m.GetAddr()),
    "ping": Spec(8, 8, lambda c: m.Ping(c.uint(8))),
    "pong": Spec(8, 8, lambda c: m.Pong(c.uint(8))),
    "feefilter": Spec(8, 8, lambda c: m.FeeFilter(c.uint(8))),
    "getheaders": Spec(4 + 1 + 32, 4 + 1 + 32 * m.MAX_LOCATOR + 32, _get_headers),
    "headers": Spec(1, 3 + _ROW * m.MAX_HEADERS, _headers),
    "inv": Spec(1, _INVENTORY_MOST, lambda c: m.Inv(_inventory(c))),
    "getdata": Spec(1, _INVENTORY_MOST, lambda c: m.GetData(_inventory(c))),
    "notfound": Spec(1, _INVENTORY_MOST, lambda c: m.NotFound(_inventory(c))),
    "block": Spec(m.MIN_BLOCK, m.MAX_BLOCK, _block),
    "merkleblock": Spec(
        m.HEADER_SIZE + 4 + 1 + 1,
        m.HEADER_SIZE + 4 + 3 + 32 * m.MAX_BLOCK_TXS + 3 + m.MAX_MERKLE_FLAGS,
        _merkle_block,
    ),
    "addr": Spec(1, 3 + _ADDR_ROW * m.MAX_ADDRESSES, _addr),
    "addrv2": Spec(1, 3 + _ADDR_V2_MOST * m.MAX_ADDRESSES, _addr_v2),
    "getcfilters": Spec(37, 37, lambda c: m.GetCFilters(*_FILTER_RANGE.unpack(c.take(37)))),
    "cfilter": Spec(1 + 32 + 1, 1 + 32 + 5 + m.MAX_FILTER, _cfilter),
    "getcfheaders": Spec(37, 37, lambda c: m.GetCFHeaders(*_FILTER_RANGE.unpack(c.take(37)))),
    "cfheaders": Spec(1 + 64 + 1, 1 + 64 + 3 + 32 * m.MAX_FILTER_HASHES, _cfheaders),
    "getcfcheckpt": Spec(33, 33, lambda c: m.GetCFCheckpt(c.uint(1), c.take(32))),
    "cfcheckpt": Spec(1 + 32 + 1, 1 + 32 + 3 + 32 * m.MAX_FILTER_CHECKPOINTS, _cfcheckpt),
}
"""Every command that we speak."""

LARGE: Final = frozenset({"block", "merkleblock"})
"""What nobody sends unasked, and big: counted, not kept, unless the reader says that it is awaited."""
MAX_UNASKED: Final = 3 + 5_000 * m.INVENTORY_SIZE
"""Bytes of the greatest payload that is kept while nothing large is awaited: 180 kB, of 2,000 headers (162 kB) or an
``inv`` of 5,000 rows, ten times as many blocks as a node names at once. Every connection may fill it; what is greater
is thrown away as it arrives, and paid for like any bytes."""


def check_size(command: str, size: int) -> Malformed | None:
    """Does a payload of ``size`` bytes exceed what ``command`` may have? None when it does not."""
    spec = SPECS.get(command)
    least, most = (spec.least, spec.most) if spec else (0, m.MAX_PAYLOAD)
    if size > most:
        return Malformed(FaultReason.OVERSIZED, f"{command} of {size} bytes is above its limit {most}")
    if size < least:
        return Malformed(FaultReason.BAD_FRAME, f"{command} of {size} bytes is below its least {least}")
    return None


def decode(command: str, payload: bytes) -> m.Message | Malformed:
    """The message in a payload, whatever its bytes are."""
    wrong = check_size(command, len(payload))
    if wrong is not None:
        return wrong
    spec = SPECS.get(command)
    if spec is None:
        return m.Unknown(command, len(payload))
    cursor = Cursor(payload)
    try:
        message = spec.read(cursor)
        cursor.end()
    except Refused as refused:
        return Malformed(refused.reason, f"{command}: {refused.evidence}")
    return message


def encode(message: m.Spoken) -> bytes:
    """The payload. ValueError (or struct.error, OverflowError) when ``message`` is one that nobody would accept: that
    is our bug, and must not leave the house."""
    payload = _encode(message)
    wrong = check_size(message.command, len(payload))
    if wrong is not None:
        raise ValueError(wrong.evidence)
    if message.command not in _TRUSTED:
        again = decode(message.command, payload)
        if isinstance(again, Malformed):
            raise ValueError(again.evidence)
    return payload


# Blobs that their size has checked already.
_TRUSTED: Final = frozenset({"headers", "block", "inv", "getdata", "notfound", "cfilter", "cfheaders", "cfcheckpt"})


def _encode(message: m.Spoken) -> bytes:  # noqa: C901  one line for each message
    match message:
        case m.Verack() | m.SendHeaders() | m.SendAddrV2() | m.WtxidRelay() | m.GetAddr():
            return b""
        case m.Ping(value) | m.Pong(value) | m.FeeFilter(value):
            return value.to_bytes(8, "little")
        case m.GetHeaders(locator, stop, version):
            return version.to_bytes(4, "little") + hash_vector(locator) + stop
        case m.Headers(headers):
            return _encode_headers(headers)
        case m.Inv(rows) | m.GetData(rows) | m.NotFound(rows):
            return vector(rows, m.INVENTORY_SIZE)
        case m.Block(raw):
            return raw
        case m.MerkleBlock(header, total, hashes, flags):
            return header + total.to_bytes(4, "little") + hash_vector(hashes) + vector(flags, 1)
        case m.Addr(addresses):
            lines = (a.time.to_bytes(4, "little") + net_address(a.services, a.endpoint) for a in addresses)
            return compact(len(addresses)) + b"".join(lines)
        case m.AddrV2(addresses):
            return compact(len(addresses)) + b"".join(map(_encode_address, addresses))
        case m.GetCFilters(kind, start, stop) | m.GetCFHeaders(kind, start, stop):
            return _FILTER_RANGE.pack(kind, start, stop)
        case m.CFilter(kind, block_hash, content):
            return bytes((kind,)) + block_hash + vector(content, 1)
        case m.CFHeaders(kind, stop, previous, hashes):
            return bytes((kind,)) + stop + previous + vector(hashes, 32)
        case m.GetCFCheckpt(kind, stop):
            return bytes((kind,)) + stop
        case m.CFCheckpt(kind, stop, headers):
            return bytes((kind,)) + stop + vector(headers, 32)
        case m.Version():
            return _encode_version(message)


def _encode_headers(headers: bytes) -> bytes:
    """The count, and rows of 81 bytes with a 0 at the end of each."""
    count, over = divmod(len(headers), m.HEADER_SIZE)
    if over:
        raise ValueError(f"{len(headers)} bytes are no whole number of headers")
    cuts = range(0, len(headers), m.HEADER_SIZE)
    rows = b"\0".join([headers[at : at + m.HEADER_SIZE] for at in cuts])
    return compact(count) + rows + bytes(count > 0)


def _encode_address(address: m.Address) -> bytes:
    endpoint = address.endpoint
    return b"".join(
        (
            address.time.to_bytes(4, "little"),
            compact(address.services),
            bytes((endpoint.network,)),
            vector(endpoint.host, 1),
            endpoint.port.to_bytes(2, "big"),
        )
    )


def _encode_version(v: m.Version) -> bytes:
    name = v.user_agent.encode("ascii")
    if len(name) > m.MAX_USER_AGENT:
        raise ValueError(f"a user agent of {len(name)} bytes is above {m.MAX_USER_AGENT}")
    return b"".join(
        (
            _VERSION_HEAD.pack(v.version, v.services, v.timestamp),
            net_address(v.receiver_services, v.receiver),
            net_address(v.sender_services, v.sender),
            v.nonce.to_bytes(8, "little"),
            vector(name, 1),
            v.start_height.to_bytes(4, "little", signed=True),
            bytes((v.relay,)),
        )
    )
