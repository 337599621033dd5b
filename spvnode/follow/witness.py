"""Who can say what is final, and hand out the bootstrap for it: REST endpoints, and beacon peers by their Status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import msgspec

from merkle.errors import ProofError
from merkle.ssz_json import from_json
from p2p.faults import FaultReason, RemoteFault
from p2p.rest.api import BeaconApi, Reply
from p2p.rest.endpoint import Endpoint
from spvnode.ethereum.containers import BeaconBlockHeader, beacon_root, container
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.items import Kind
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Epoch, Root, Slot
from spvnode.sync.rest_items import Decoded, decode_chunk, decode_one, largest
from spvnode.sync.rest_peer import is_of_network, peer_name


@dataclass(frozen=True, slots=True)
class Finalized:
    """A checkpoint that somebody calls final. ``slot``: the block's; None where only the epoch was told."""

    epoch: Epoch
    root: Root
    slot: Slot | None = None


class Witness(Protocol):
    """One source. Each call has a deadline of its own and may be cancelled."""

    @property
    def name(self) -> str:
        """Peer name: ``rest:<host>`` or a peer id."""

    @property
    def kind(self) -> Literal["rest", "peer"]:
        """What it counts as in a quorum."""

    async def finalized(self) -> Finalized | RemoteFault:
        """What it calls final now."""

    async def root_at(self, slot: Slot) -> Root | RemoteFault:
        """The root of its canonical block in ``slot``; NOT_FOUND and REFUSED are no opinion."""

    async def bootstrap(self, root: Root) -> Decoded | RemoteFault:
        """The bootstrap that it has for a block; not checked against the root."""


class RestWitness:
    """An endpoint. It is asked for its finality update, and for its canonical headers."""

    kind: Literal["rest", "peer"] = "rest"

    def __init__(self, network: Network, api: BeaconApi, endpoint: Endpoint) -> None:
        self._network = network
        self._api = api
        self._endpoint = endpoint
        self._same_network = False
        self.name = peer_name(endpoint)

    async def finalized(self) -> Finalized | RemoteFault:
        """See ``Witness``. By the finality update; where there is none yet, by the header called ``finalized``."""
        network = self._network
        if not self._same_network:
            fault = await is_of_network(network, self._api, self._endpoint)
            if fault is not None:
                return fault
            self._same_network = True
        reply = await self._api.latest(self._endpoint, "finality", largest(network, Kind.FINALITY))
        if isinstance(reply, RemoteFault):
            if reply.reason not in (FaultReason.NOT_FOUND, FaultReason.REFUSED):
                return self._own(reply)
            header = await self._header("finalized")
            if isinstance(header, RemoteFault):
                return replace(header, evidence=f"{reply.evidence}; {header.evidence}")
            return self._checkpoint(header)
        decoded = decode_one(network, Kind.FINALITY, reply, self.name)
        if isinstance(decoded, RemoteFault):
            return decoded
        return self._checkpoint(decoded.value.finalized_header.beacon)

    async def root_at(self, slot: Slot) -> Root | RemoteFault:
        """See ``Witness``."""
        header = await self._header(slot)
        if isinstance(header, RemoteFault):
            return header
        if header.slot != slot:
            return RemoteFault(FaultReason.PROTOCOL, self.name, f"header of slot {header.slot} for {slot}")
        return beacon_root(header)

    async def bootstrap(self, root: Root) -> Decoded | RemoteFault:
        """See ``Witness``."""
        reply = await self._api.bootstrap(self._endpoint, root, largest(self._network, Kind.BOOTSTRAP))
        if isinstance(reply, RemoteFault):
            return self._own(reply)
        return decode_one(self._network, Kind.BOOTSTRAP, reply, self.name)

    async def _header(self, block: int | str) -> BeaconBlockHeader | RemoteFault:
        reply = await self._api.header(self._endpoint, block)
        return self._own(reply) if isinstance(reply, RemoteFault) else self._read(reply)

    def _read(self, reply: Reply) -> BeaconBlockHeader | RemoteFault:
        try:
            message = msgspec.json.decode(reply.body, type=_HeaderReply).data.header.message
            kind = container(self._network.preset, Fork.ALTAIR, BeaconBlockHeader)
            header: BeaconBlockHeader = from_json(kind, msgspec.json.decode(message), "header")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ProofError) as error:
            return RemoteFault(FaultReason.BAD_FRAME, self.name, f"header: {error}", self._network.name)
        return header

    def _checkpoint(self, header: BeaconBlockHeader) -> Finalized:
        return Finalized(checkpoint_epoch(self._network, header.slot), beacon_root(header), header.slot)

    def _own(self, fault: RemoteFault) -> RemoteFault:
        return replace(fault, peer=self.name, network=self._network.name)


class PeerWitness:
    """A beacon peer: its Status, and the bootstrap protocol. ``ask`` returns digest and SSZ, or the fault."""

    kind: Literal["rest", "peer"] = "peer"

    def __init__(
        self,
        network: Network,
        peer: str,
        finalized_epoch: int,
        finalized_root: bytes,
        ask: Callable[[str, bytes], Awaitable[tuple[bytes, bytes] | RemoteFault]],
    ) -> None:
        self._network = network
        self._said = Finalized(Epoch(finalized_epoch), Root(finalized_root))
        self._ask = ask
        self.name = peer

    async def finalized(self) -> Finalized | RemoteFault:
        """See ``Witness``. A light client's Status may name genesis alone: that is no opinion."""
        if not any(self._said.root):
            return RemoteFault(FaultReason.NOT_FOUND, self.name, "its Status names no finalized block")
        return self._said

    async def root_at(self, slot: Slot) -> Root | RemoteFault:
        """See ``Witness``. No protocol of a light client tells."""
        return RemoteFault(FaultReason.NOT_FOUND, self.name, "tells no headers by slot")

    async def bootstrap(self, root: Root) -> Decoded | RemoteFault:
        """See ``Witness``."""
        reply = await self._ask(self.name, root)
        if isinstance(reply, RemoteFault):
            return reply
        return decode_chunk(self._network, Kind.BOOTSTRAP, *reply, self.name)


def checkpoint_epoch(network: Network, slot: int) -> Epoch:
    """The first epoch whose checkpoint a block in ``slot`` can be: the one that begins at it or next after it."""
    return Epoch(-(-slot // network.preset.slots_per_epoch))


class _Header(msgspec.Struct, frozen=True):
    message: msgspec.Raw


class _SignedHeader(msgspec.Struct, frozen=True):
    header: _Header


class _HeaderReply(msgspec.Struct, frozen=True):
    data: _SignedHeader
