"""multistream-select 1.0 (multiformats/multistream-select README) with bounds.

Upstream decodes what a remote sends as UTF-8 outside any ``try`` (protocol_muxer/multiselect_communicator.py:58), reads
messages of any length (utils/varint.py:155), gives up after 101 partial reads however much still comes (io/utils.py:8),
answers proposals without end (protocol_muxer/multiselect.py:83), and waits a round trip before it proposes
(protocol_muxer/multiselect_client.py:130); here the proposal goes with the greeting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from libp2p.io.exceptions import IOException
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient

from p2p.host.limits import Limits

GREETING = "/multistream/1.0.0"
NOT_AVAILABLE = "na"


class _Refused(Exception):
    """The remote broke the protocol, left, or does not have what we ask for."""


def _encode(message: str) -> bytes:
    """Length as a varint of one or two bytes, text, newline."""
    text = message.encode() + b"\n"
    size = len(text)
    return (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + text


def proposal(protocol: str) -> bytes:
    """What opens the negotiation of a stream: greeting and first proposal at once."""
    return _encode(GREETING) + _encode(protocol)


async def _read(reader: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await reader.read(count - len(data))
        if not piece:
            raise _Refused("closed during negotiation")
        data += piece
    return data


async def _receive(reader: Any, longest: int) -> str:
    size = (await _read(reader, 1))[0]
    if size >= 128:
        high = (await _read(reader, 1))[0]
        size = size & 127 | high << 7
    if not 0 < size <= longest:
        raise _Refused(f"message of {size} bytes, limit {longest}")
    text = await _read(reader, size)
    if text[-1:] != b"\n":
        raise _Refused("message without newline")
    try:
        return text[:-1].decode()
    except UnicodeDecodeError as error:
        raise _Refused("message is not UTF-8") from error


async def _greet(reader: Any, longest: int) -> None:
    if await _receive(reader, longest) != GREETING:
        raise _Refused("not multistream-select 1.0")


async def _agrees(reader: Any, protocol: str, longest: int) -> bool:
    answer = await _receive(reader, longest)
    if answer not in (protocol, NOT_AVAILABLE):
        raise _Refused("neither agreed nor refused")
    return answer == protocol


class BoundedMultiselect(Multiselect):  # type: ignore[misc]
    """The side that is asked."""

    limits: Limits

    async def negotiate(self, communicator: Any, negotiate_timeout: float = 0) -> tuple[Any, Any]:
        """Return (protocol, handler); raise MultiselectError."""
        pipe = communicator.read_writer
        try:
            with trio.fail_after(self.limits.negotiation_deadline):
                await pipe.write(_encode(GREETING))
                await _greet(pipe, self.limits.negotiation_message)
                for _ in range(self.limits.negotiation_proposals):
                    protocol = await _receive(pipe, self.limits.negotiation_message)
                    if protocol in self.handlers:
                        await pipe.write(_encode(protocol))
                        return protocol, self.handlers[protocol]
                    await pipe.write(_encode(NOT_AVAILABLE))
        except (_Refused, IOException, trio.TooSlowError) as error:
            raise MultiselectError(str(error) or type(error).__name__) from error
        raise MultiselectError("too many proposals")


class EagerMultiselectClient(MultiselectClient):  # type: ignore[misc]
    """The side that asks."""

    limits: Limits

    async def select_one_of(self, protocols: Sequence[str], communicator: Any, negotiate_timeout: float = 0) -> str:
        """Return the first of ``protocols`` that the remote has; raise MultiselectClientError."""
        pipe = communicator.read_writer
        longest = self.limits.negotiation_message
        try:
            with trio.fail_after(self.limits.negotiation_deadline):
                greeting = _encode(GREETING)
                for protocol in protocols:
                    await pipe.write(greeting + _encode(protocol))
                    if greeting:
                        await _greet(pipe, longest)
                    greeting = b""
                    if await _agrees(pipe, protocol, longest):
                        return protocol
        except (_Refused, IOException, trio.TooSlowError) as error:
            raise MultiselectClientError(str(error) or type(error).__name__) from error
        raise MultiselectClientError(f"remote has none of {', '.join(protocols)}")
