"""The asking side of ``/spvnode/<network>/proof/1``: one stream, one question, one bundle."""

from __future__ import annotations

from typing import Final

import trio

from p2p.faults import FaultReason, RemoteFault
from p2p.mesh.codec import Error, ErrorCode, GetProof, Proof
from p2p.mesh.wire import Ended, Frame, Received, Wire
from p2p.port import Host, StreamRefused

PROOF_DEADLINE_S: Final = 20.0
"""Seconds for a proof to begin to arrive; it is 3 kB and cheap to make, but the peer may be asked by many."""

_REQUEST: Final = 1
"""Request id: the only one on its stream."""


def proof_protocol(network: str) -> str:
    return f"/spvnode/{network}/proof/1"


async def fetch_proof(host: Host, peer: str, network: str, height: int, cp_height: int) -> bytes | RemoteFault:
    """The peer's bundle, not looked into, or its fault, not yet scored. Cancel at will."""
    try:
        stream = await host.open_stream(peer, proof_protocol(network))
    except StreamRefused as refused:
        return RemoteFault(FaultReason.REFUSED, peer, str(refused), network)
    wire = Wire(stream, network)
    try:
        fault = await wire.send(_REQUEST, GetProof(height, cp_height))
        return fault or _bundle(wire, await wire.receive_within(PROOF_DEADLINE_S))
    finally:
        with trio.CancelScope(shield=True):  # bounded: a reset never waits for the remote
            await wire.reset()


def _bundle(wire: Wire, received: Received) -> bytes | RemoteFault:
    match received:
        case Frame(request_id, Proof(bundle)) if request_id == _REQUEST:
            return bundle
        case Frame(request_id, Error(code, text)) if request_id == _REQUEST:
            not_found = code is ErrorCode.NOT_FOUND
            return wire.fault(FaultReason.NOT_FOUND if not_found else FaultReason.REFUSED, f"{code.name}: {text}")
        case Frame(request_id, message):
            return wire.fault(FaultReason.PROTOCOL, f"{type(message).__name__} {request_id} in answer to a proof")
        case Ended():
            return wire.fault(FaultReason.DISCONNECTED, "left owing a proof")
        case RemoteFault():
            return received
